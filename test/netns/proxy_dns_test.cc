// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Captured DNS, answered by sluice-proxy --dns-port: an application in a pod, the proxy under its
// filter, and resolvers in another namespace.

#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/netns/proxy_fixture.h"
#include "test/unit/dns/dns_forwarder_fixture.h"

namespace sluice::testing_support {
namespace {

using dns::DnsBytes;
using dns::DnsClient;
using dns::DnsMessage;
using dns::DnsRcode;
using dns::FakeDnsServer;
using dns::IsSilent;
using dns::Knows;
using dns::SeenQuery;
using dns::TestMessage;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::HasSubstr;

class DnsTest : public testing::TestWithParam<Family> {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
    network_ = std::make_unique<PodNetwork>();
    path_ = testing::TempDir() + "resolv." + std::to_string(::getpid()) + ".conf";
  }
  ~DnsTest() override { std::remove(path_.c_str()); }

  // The addresses named in resolv.conf, in order.
  SocketAddress Resolver(int number) const {
    const bool v4 = GetParam() == Family::kIpv4;
    const char* const text = number == 0 ? (v4 ? "10.96.0.10" : "2001:db8::1")
                                         : (v4 ? "203.0.113.9" : "2001:db8:ffff::1");
    return {IpAddress::Parse(text), 53};
  }
  std::unique_ptr<FakeDnsServer> Serve(int number, const FakeDnsServer::Answer& answer) {
    return CallIn(network_->outside(), kRoot,
                  [&] { return std::make_unique<FakeDnsServer>(Resolver(number), answer); });
  }

  // Captures the pod and starts the proxy there. `options` is the line in resolv.conf.
  void Start(const std::vector<std::string>& flags = {"--dns-port=15053"},
             const std::string& options = "timeout:5") {
    std::ofstream(path_) << "nameserver " << Resolver(0).ip << "\nnameserver " << Resolver(1).ip
                         << "\noptions " << options << '\n';
    const CommandResult init = RunCommand(
        network_->pod(),
        WithResolvConf({.argv = {ProgramPath("sluice-init"), "-p", "15001", "-z", "15006", "-u",
                                 "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*", "-d",
                                 "15090,15020", "--redirect-dns"}},
                       path_));
    ASSERT_EQ(init.exit_status, 0) << init.err;
    proxy_ = StartProxy(flags);
  }
  std::unique_ptr<ProxyProcess> StartProxy(const std::vector<std::string>& flags) {
    auto out =
        std::make_unique<ProxyProcess>(network_->pod(), WithResolvConf(ProxyCommand(flags), path_));
    EXPECT_TRUE(out->WaitReady()) << out->process().Err();
    return out;
  }

  // An application's socket: it knows the resolver's address and nothing of a proxy. Connected, so
  // that it accepts no answer from another address.
  DnsClient Client(bool tcp = false) const {
    return CallIn(network_->pod(), kApplication, [&] { return DnsClient(Resolver(0), tcp); });
  }
  std::optional<DnsMessage> Ask(const std::string& name, bool tcp = false) const {
    const DnsClient client = Client(tcp);
    client.Send(TestMessage{.name = name}.Bytes());
    const auto reply = client.Receive(kPatience);
    return reply ? dns::ParseDnsMessage(*reply) : std::nullopt;
  }
  // The error when an application's socket of `type` connects or sends to `to`.
  static int ErrorOf(const netns::Namespace& from, const SocketAddress& to, int type) {
    return CallIn(from, kApplication, [&] {
      sockaddr_storage storage;
      const socklen_t length = ToSockaddr(to, storage);
      const UniqueFd fd(::socket(storage.ss_family, type | SOCK_CLOEXEC, 0));
      const timeval limit{.tv_sec = 2, .tv_usec = 0};
      ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
      char answer = 0;
      if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&storage), length) != 0 ||
          ::send(fd.get(), "x", 1, MSG_NOSIGNAL) < 0 || ::recv(fd.get(), &answer, 1, 0) < 0) {
        return errno;
      }
      return 0;
    });
  }
  SocketAddress Loopback() const {
    return {IpAddress::Parse(GetParam() == Family::kIpv4 ? "127.0.0.1" : "::1"), 15053};
  }
  double Metric(const std::string& name) { return proxy_->Metric("sluice_dns_" + name); }

  std::unique_ptr<PodNetwork> network_;
  std::string path_;
  std::unique_ptr<ProxyProcess> proxy_;
};

INSTANTIATE_TEST_SUITE_P(, DnsTest, testing::Values(Family::kIpv4, Family::kIpv6), FamilyName);

TEST_P(DnsTest, AnswersOverUdpAndTcp) {
  std::vector<std::uint16_t> ids;
  const auto server = Serve(0, [&](const SeenQuery& query) {
    ids.push_back(query.id());
    return Knows(query);
  });
  Start();
  for (const bool tcp : {false, true}) {
    const auto reply = Ask(tcp ? "tcp.example" : "udp.example", tcp);
    ASSERT_TRUE(reply) << "tcp: " << tcp << proxy_->process().Err();
    EXPECT_EQ(reply->header.rcode(), DnsRcode::kNoError);
    EXPECT_EQ(reply->header.answers, 1);
    EXPECT_EQ(reply->header.id, TestMessage{}.id);
  }
  ASSERT_EQ(server->asked(), 2);
  EXPECT_NE(ids[0], ids[1]) << "the client's own id twice";
  EXPECT_EQ(Metric("queries_total"), 2);
  EXPECT_EQ(Metric("upstream_queries_total"), 2);
  EXPECT_EQ(Metric("failed_total{reason=\"no_answer\"}"), 0);
  EXPECT_THAT(proxy_->Get(15000, "/config_dump").second,
              HasSubstr("\"dns_resolvers\":[\"" + Resolver(0).ToString() + "\",\"" +
                        Resolver(1).ToString() + "\"]"));
  EXPECT_THAT(proxy_->Get(15000, "/stats").second, HasSubstr("sluice_dns_queries_total 2"));
}

TEST_P(DnsTest, AsksAgainOverTcpWhenTheAnswerIsTruncated) {
  const auto server = Serve(0, dns::IsVerbose);
  Start();
  const auto reply = Ask("long.example", true);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->header.answers, 100);
  EXPECT_EQ(server->asked(), 2) << "over UDP, then over TCP";
  EXPECT_EQ(Metric("upstream_tcp_retries_total"), 1);
  // Now from the cache, and too long for a datagram: the client is told to use TCP.
  const auto datagram = Ask("long.example");
  ASSERT_TRUE(datagram);
  EXPECT_NE(datagram->header.flags & dns::dns_flag::kTruncated, 0);
  EXPECT_EQ(server->asked(), 2);
}

TEST_P(DnsTest, AnswersFromTheCacheAsLongAsTheTtlSays) {
  constexpr std::uint32_t kLongTtl = 300;  // seconds
  constexpr std::uint32_t kShortTtl = 1;
  const auto server = Serve(0, [](const SeenQuery& query) -> std::vector<DnsBytes> {
    return {dns::AnswerTo(query, query.number == 0 ? kLongTtl : kShortTtl).Bytes()};
  });
  Start();
  ASSERT_TRUE(Ask("a.example"));
  ASSERT_TRUE(Ask("b.example"));
  std::this_thread::sleep_for(milliseconds(kShortTtl * 1000 + 100));
  const auto cached = Ask("A.EXAMPLE");
  ASSERT_TRUE(cached);
  EXPECT_EQ(server->asked(), 2);
  EXPECT_EQ(Metric("cache_hits_total"), 1);
  ASSERT_EQ(cached->records.size(), 1U);
  EXPECT_LT(cached->records.front().ttl, kLongTtl);
  ASSERT_TRUE(Ask("b.example"));
  EXPECT_EQ(server->asked(), 3) << "after its time";
}

TEST_P(DnsTest, AsksTheNextResolverWhenOneIsSilent) {
  const auto silent = Serve(0, IsSilent);
  const auto server = Serve(1, Knows);
  Start({"--dns-port=15053"}, "timeout:2");
  const auto begin = steady_clock::now();
  const auto reply = Ask("a.example");
  const auto took = steady_clock::now() - begin;
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->header.rcode(), DnsRcode::kNoError);
  EXPECT_GE(took, milliseconds(1990));
  EXPECT_EQ(silent->asked(), 1);
  EXPECT_EQ(Metric("upstream_timeouts_total"), 1);
  // The server that answers is asked first for a while.
  ASSERT_TRUE(Ask("b.example"));
  EXPECT_EQ(silent->asked(), 1);
}

TEST_P(DnsTest, SaysServfailWhenAllAreSilent) {
  const auto silent = Serve(0, IsSilent);
  const auto silent_too = Serve(1, IsSilent);
  Start({"--dns-port=15053"}, "timeout:1 attempts:1");
  for (const bool tcp : {false, true}) {
    const auto reply = Ask(tcp ? "tcp.example" : "udp.example", tcp);
    ASSERT_TRUE(reply) << "tcp: " << tcp;
    EXPECT_EQ(reply->header.rcode(), DnsRcode::kServFail);
  }
  EXPECT_EQ(silent->asked(), 2);
  EXPECT_EQ(silent_too->asked(), 2);
  EXPECT_EQ(Metric("failed_total{reason=\"no_answer\"}"), 2);
}

TEST_P(DnsTest, BoundsWhatWaitsForAnAnswer) {
  constexpr int kLimit = 256;  // DnsForwarderOptions::max_in_flight
  constexpr int kAsked = 320;
  const auto silent = Serve(0, IsSilent);
  const auto silent_too = Serve(1, IsSilent);
  Start({"--dns-port=15053"}, "timeout:10 attempts:1");
  const int descriptors = proxy_->OpenDescriptors();
  // One for each, for a client has only a share.
  std::vector<DnsClient> clients;
  for (int i = 0; i < kAsked; ++i) {
    clients.push_back(Client());
    clients.back().Send(TestMessage{.name = "n" + std::to_string(i) + ".example"}.Bytes());
    // As many as a socket's receive buffer certainly holds.
    if (i % 32 == 31) {
      ASSERT_TRUE(Eventually([&] { return Metric("queries_total") == i + 1; }));
    }
  }
  for (int i = kLimit; i < kAsked; ++i) {
    const auto reply = clients.at(static_cast<std::size_t>(i)).Receive(kPatience);
    ASSERT_TRUE(reply);
    EXPECT_EQ(dns::ParseDnsMessage(*reply)->header.rcode(), DnsRcode::kServFail);
  }
  EXPECT_EQ(Metric("failed_total{reason=\"over_limit\"}"), kAsked - kLimit);
  EXPECT_LE(proxy_->OpenDescriptors(), descriptors + kLimit + 10);
  // Timeouts make room, and free everything.
  EXPECT_TRUE(Eventually([&] { return Metric("failed_total{reason=\"no_answer\"}") == kLimit; }));
  EXPECT_TRUE(Eventually([&] { return proxy_->OpenDescriptors() <= descriptors + 2; }));
}

TEST_P(DnsTest, IsReachedFromInsideOnly) {
  const auto server = Serve(0, Knows);
  Start();
  const SocketAddress from_outside{
      IpAddress::Parse(GetParam() == Family::kIpv4 ? "192.0.2.2" : "fd00:2::2"), 15053};
  EXPECT_EQ(ErrorOf(network_->outside(), from_outside, SOCK_DGRAM), ECONNREFUSED);
  // Captured on its way in, and refused there.
  EXPECT_EQ(ErrorOf(network_->outside(), from_outside, SOCK_STREAM), ECONNRESET);
  EXPECT_EQ(proxy_->Metric("istio_tcp_connections_opened_total{reporter=\"destination\"}"), 0);
}

TEST_P(DnsTest, NothingListensUnlessAsked) {
  const auto server = Serve(0, Knows);
  Start({});
  for (const int type : {SOCK_DGRAM, SOCK_STREAM}) {
    EXPECT_EQ(ErrorOf(network_->pod(), Loopback(), type), ECONNREFUSED);
  }
  // Captured. The ICMP error for a datagram belongs to another conntrack zone, and is lost.
  EXPECT_EQ(ErrorOf(network_->pod(), Resolver(0), SOCK_STREAM), ECONNREFUSED);
  EXPECT_EQ(ErrorOf(network_->pod(), Resolver(0), SOCK_DGRAM), EAGAIN);
  EXPECT_EQ(server->asked(), 0);
  EXPECT_EQ(Metric("queries_total"), -1);
}

TEST_P(DnsTest, IsHandedOver) {
  const auto server = Serve(0, Knows);
  Start();
  ASSERT_TRUE(Ask("a.example"));
  const CommandResult beside = RunCommand(
      network_->pod(), WithResolvConf(ProxyCommand({"--dns-port=15053", "--outbound-port=16001",
                                                    "--inbound-port=16006", "--status-port=0",
                                                    "--metrics-port=0", "--admin-port=0"}),
                                      path_));
  EXPECT_EQ(beside.exit_status, 1) << "only when asked to";
  EXPECT_THAT(beside.err, HasSubstr("port 15053"));

  const auto next = std::make_unique<ProxyProcess>(
      network_->pod(), WithResolvConf(ProxyCommand({"--dns-port=15053", "--hand-over"}), path_));
  ASSERT_TRUE(next->process().WaitForText("outbound on", kPatience)) << next->process().Err();
  proxy_->process().Signal(SIGTERM);
  EXPECT_EQ(proxy_->process().Wait(kPatience).exit_status, 0);
  for (const bool tcp : {false, true}) EXPECT_TRUE(Ask("b.example", tcp)) << "tcp: " << tcp;
}

TEST_P(DnsTest, SaysWhenThereIsNobodyToAsk) {
  std::ofstream(path_) << "search example\n";
  const CommandResult result =
      RunCommand(network_->pod(), WithResolvConf(ProxyCommand({"--dns-port=15053"}), path_));
  EXPECT_EQ(result.exit_status, 2);
  EXPECT_THAT(result.err, HasSubstr("no resolver to ask"));
  EXPECT_THAT(result.err, HasSubstr("resolv.conf"));
}

}  // namespace
}  // namespace sluice::testing_support
