// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// What the proxy refuses, drops, and survives.

#include <sys/resource.h>
#include <sys/socket.h>

#include <csignal>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/netns/proxy_fixture.h"

namespace sluice::testing_support {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class LimitsTest : public ProxyTest {
 protected:
  // Connects, and expects only a reset.
  static void ExpectReset(const netns::Namespace& where, const SocketAddress& to,
                          const Credentials& who = kApplication) {
    auto peer = Peer::Connect(where, to, who);
    // The reset may arrive before connect has returned.
    if (peer) {
      EXPECT_EQ(peer->WaitForEnd(), End::kReset);
    }
  }
  static double Failures(ProxyProcess& proxy, const std::string& reporter,
                         const std::string& reason) {
    return proxy.Metric("sluice_tcp_connections_failed_total{reporter=\"" + reporter +
                        "\",reason=\"" + reason + "\"}");
  }
  IpAddress Loopback() const {
    return IpAddress::Parse(GetParam() == Family::kIpv4 ? "127.0.0.1" : "::1");
  }
};

INSTANTIATE_TEST_SUITE_P(, LimitsTest, testing::Values(Family::kIpv4, Family::kIpv6), FamilyName);

TEST_P(LimitsTest, RefusesWhatWasNeverRedirected) {
  StartProxies();
  for (const std::uint16_t port : {std::uint16_t{15001}, std::uint16_t{15006}}) {
    ExpectReset(client(), {Loopback(), port});
    ExpectReset(client(), {Cluster::PodIp(0, GetParam()), port});
    const auto line = client_proxy_->LogLineTo({Loopback(), port});
    EXPECT_EQ(Text(line, "response_flags"), "NR");
    EXPECT_EQ(Text(line, "upstream_cluster"), "BlackHoleCluster");
    EXPECT_EQ(Text(line, "upstream_host"), "-");
  }
  EXPECT_EQ(Failures(*client_proxy_, "source", "not_redirected"), 2);
  EXPECT_EQ(Failures(*client_proxy_, "destination", "not_redirected"), 2);
}

TEST_P(LimitsTest, RefusesALoopWithoutFollowingItEvenOnce) {
  StartProxies({"--access-log=-"});
  const int descriptors = server_proxy_->OpenDescriptors();
  // From outside, to the proxy's own ports: redirected to the inbound port, and relaying it would
  // connect to ourselves.
  ExpectReset(client(), ServerAt(15001));
  ExpectReset(client(), ServerAt(15006));
  for (const std::uint16_t port : {std::uint16_t{15001}, std::uint16_t{15006}}) {
    EXPECT_EQ(Text(server_proxy_->LogLineTo(ServerAt(port)), "response_flags"), "NR");
  }
  const double refused = Failures(*server_proxy_, "destination", "loop") +
                         Failures(*server_proxy_, "destination", "not_redirected");
  EXPECT_EQ(refused, 2);
  EXPECT_EQ(server_proxy_->Metric("istio_tcp_connections_opened_total{reporter=\"source\"}"), 0);
  EXPECT_EQ(server_proxy_->Metric("istio_tcp_connections_opened_total{reporter=\"destination\"}"),
            0);
  EXPECT_LE(server_proxy_->OpenDescriptors(), descriptors + 2);
}

TEST_P(LimitsTest, GivesUpADestinationThatDoesNotAnswer) {
  StartClientProxy({"--connect-timeout=300ms"});
  // No host has this address, so nothing answers for three seconds.
  auto address = Cluster::PodIp(1, GetParam()).ToString();
  address.back() = '9';
  const SocketAddress nobody{IpAddress::Parse(address), 80};
  ExpectReset(client(), nobody);
  const auto line = client_proxy_->LogLineTo(nobody);
  EXPECT_EQ(Text(line, "response_flags"), "UF,URX");
  EXPECT_THAT(Text(line, "connection_termination_details"), StartsWith("connect_timeout"));
  EXPECT_GE(line.at("duration").as_int64(), 290);
  EXPECT_EQ(Failures(*client_proxy_, "source", "connect_timeout"), 1);
}

TEST_P(LimitsTest, ResetsWhatIsSilentForTooLong) {
  StartServerProxy({"--idle-timeout=2s"});
  StartClientProxy({});
  Acceptor acceptor(server(), GetParam());
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  // Not while it sends...
  for (int i = 0; i < 8; ++i) {
    EXPECT_TRUE(pair->client.Send("x"));
    EXPECT_EQ(pair->server.Receive(1), "x");
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
  }
  // ...but when it is silent.
  EXPECT_EQ(pair->client.WaitForEnd(), End::kReset);
  EXPECT_EQ(pair->server.WaitForEnd(), End::kReset);
  const auto line = server_proxy_->LogLineTo(ServerAt(acceptor.port()));
  EXPECT_EQ(Text(line, "connection_termination_details"), "idle_timeout");
  EXPECT_GE(line.at("duration").as_int64(), 7 * 300 + 1900);
}

TEST_P(LimitsTest, RefusesMoreConnectionsThanAllowed) {
  StartClientProxy({"--max-connections=2", "--concurrency=2"});
  StartServerProxy({});
  Acceptor acceptor(server(), GetParam());
  auto first = Connected(acceptor);
  auto second = Connected(acceptor);
  ASSERT_TRUE(first && second);
  ExpectReset(client(), ServerAt(acceptor.port()));
  const auto line = client_proxy_->LogLineTo(ServerAt(acceptor.port()));
  EXPECT_EQ(Text(line, "response_flags"), "UO");
  EXPECT_EQ(Failures(*client_proxy_, "source", "connection_limit"), 1);
  // The others are fine, and a freed place is used again.
  EXPECT_TRUE(first->client.Send("hello"));
  EXPECT_EQ(first->server.Receive(5), "hello");
  second->client.Close();
  second->server.Close();
  EXPECT_TRUE(Eventually([&] {
    return client_proxy_->Metric("sluice_tcp_connections_active{reporter=\"source\"}") == 1;
  }));
  EXPECT_TRUE(Connected(acceptor));
}

TEST_P(LimitsTest, DoesNotSpinWithoutDescriptorsAndRecovers) {
  StartClientProxy({"--concurrency=1"});
  StartServerProxy({});
  Acceptor acceptor(server(), GetParam());
  auto before = Connected(acceptor);
  ASSERT_TRUE(before);
  // None is left from here on. Only the soft limit, so that it can be undone; and as the proxy's
  // own user, because others would need CAP_SYS_RESOURCE.
  const auto limit_descriptors = [&](std::optional<rlim_t> soft) {
    return CallIn(client(), kProxy, [&] {
      const pid_t pid = client_proxy_->process().pid();
      rlimit limit{};
      if (::prlimit(pid, RLIMIT_NOFILE, nullptr, &limit) != 0) return false;
      limit.rlim_cur = soft.value_or(limit.rlim_max);
      return ::prlimit(pid, RLIMIT_NOFILE, &limit, nullptr) == 0;
    });
  };
  ASSERT_TRUE(limit_descriptors(static_cast<rlim_t>(client_proxy_->OpenDescriptors())));
  std::vector<Peer> waiting;
  for (int i = 0; i < 50; ++i) {
    if (auto peer = Peer::Connect(client(), ServerAt(acceptor.port()))) {
      waiting.push_back(std::move(*peer));
    }
  }
  const auto cpu = client_proxy_->Cpu();
  std::this_thread::sleep_for(std::chrono::seconds(1));
  // A busy loop around accept4 would have used the whole second.
  EXPECT_LT(client_proxy_->Cpu() - cpu, std::chrono::milliseconds(200));
  EXPECT_TRUE(before->client.Send("still"));
  EXPECT_EQ(before->server.Receive(5), "still");

  ASSERT_TRUE(limit_descriptors(std::nullopt));
  waiting.clear();
  // The earlier connections come first in the queue, and are gone.
  EXPECT_TRUE(Eventually([&] {
    auto pair = Peer::Connect(client(), ServerAt(acceptor.port()));
    return pair && pair->Send("again") &&
           client_proxy_->Metric("istio_tcp_connections_opened_total{reporter=\"source\"}") >= 2;
  }));
  EXPECT_GE(client_proxy_->Metric("sluice_accept_pauses_total"), 1);
  EXPECT_GE(Failures(*client_proxy_, "source", "no_descriptor"), 1);
}

// ThreadSanitizer has a thread of its own that wakes ten times a second.
#ifndef __SANITIZE_THREAD__
TEST_P(LimitsTest, SleepsWhileConnectionsAreIdle) {
  StartProxies();
  Acceptor acceptor(server(), GetParam());
  std::vector<Pair> pairs;
  for (int i = 0; i < 100; ++i) {
    auto pair = Connected(acceptor);
    ASSERT_TRUE(pair);
    pairs.push_back(std::move(*pair));
  }
  // Keep-alive is set once, after five seconds; then there is nothing to do.
  const auto sleeps = [&] { return client_proxy_->Sleeps() + server_proxy_->Sleeps(); };
  EXPECT_TRUE(Eventually([&] {
    const long before = sleeps();
    std::this_thread::sleep_for(std::chrono::seconds(2));
    return sleeps() == before;
  })) << "something wakes them again and again";
}
#endif

class CommandLineTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
  }
  PodNetwork network_;

  CommandResult Run(const std::vector<std::string>& flags, Credentials who) {
    Command command{.argv = {ProgramPath("sluice-proxy")}, .who = std::move(who)};
    command.argv.insert(command.argv.end(), flags.begin(), flags.end());
    command.timeout = std::chrono::seconds(60);
    return RunCommand(network_.pod(), command);
  }
};

TEST_F(CommandLineTest, RefusesToRunAsRoot) {
  const CommandResult result = Run({}, kRoot);
  EXPECT_EQ(result.exit_status, 3);
  EXPECT_THAT(result.err, HasSubstr("--allow-root"));
  ProxyProcess allowed(network_.pod(), {"--allow-root"}, {.who = kRoot});
  EXPECT_TRUE(allowed.WaitReady()) << allowed.process().Err();
}

TEST_F(CommandLineTest, SaysWhichPortIsTaken) {
  const Acceptor other(network_.pod(), Family::kIpv4, 15006);
  const CommandResult result = Run({}, kProxy);
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_THAT(result.err, HasSubstr("IPv4 port 15006"));
  EXPECT_THAT(result.err, HasSubstr("in use"));
}

TEST_F(CommandLineTest, SaysWhatIsWrongWithAnOption) {
  const CommandResult result = Run({"--idle-timeout=soon"}, kProxy);
  EXPECT_EQ(result.exit_status, 2);
  EXPECT_THAT(result.err, HasSubstr("--idle-timeout"));
  EXPECT_THAT(result.err, HasSubstr("\"soon\""));
}

TEST_F(CommandLineTest, NamesTheAccessLogThatCannotBeOpened) {
  const CommandResult result = Run({"--access-log=/proc/none"}, kProxy);
  EXPECT_NE(result.exit_status, 0);
  EXPECT_THAT(result.err, HasSubstr("/proc/none"));
}

}  // namespace
}  // namespace sluice::testing_support
