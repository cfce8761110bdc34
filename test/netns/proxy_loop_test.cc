// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// A proxy that runs as a user whom the rules do not exempt: its own connections are redirected back
// to it, each would create another one, and none would ever arrive. And a proxy with an exempt
// user, whose connection comes back once because conntrack remembers another one.

#include <algorithm>
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "netns/sysctl.h"
#include "test/netns/proxy_fixture.h"
#include "test/support/in_namespace.h"

namespace sluice::testing_support {
namespace {

using testing::HasSubstr;

// Neither the application nor the proxy's user in the rules.
const Credentials kSomebody = {.uid = 2000, .gid = 2000};

// Without the check there would be as many as descriptors. Some may pass before a worker, or
// another generation, knows what it made.
constexpr double kFew = 100;

class LoopTest : public ProxyTest {
 protected:
  void Connect() {
    auto peer = Peer::Connect(client(), ServerAt(8080));
    // The reset may arrive before connect has returned.
    if (peer) {
      EXPECT_EQ(peer->WaitForEnd(), End::kReset);
    }
  }
  void LetKernelChoose(const std::string& ports) {
    RunIn(client(), kRoot, [&] { netns::WriteSysctl("ipv4/ip_local_port_range", ports); });
  }
  // Makes a connection from `port` that the server resets, so that conntrack keeps its entry.
  void LeaveEntry(Acceptor& acceptor, std::uint16_t port) {
    auto near = Peer::Connect(client(), ServerAt(acceptor.port()), kApplication, port);
    ASSERT_TRUE(near);
    auto far = acceptor.Accept();
    ASSERT_TRUE(far);
    far->Reset();
    EXPECT_EQ(near->WaitForEnd(), End::kReset);
  }
  static double Opened(ProxyProcess& proxy) {
    return proxy.Metric("istio_tcp_connections_opened_total{reporter=\"source\"}");
  }
  static double Loops(ProxyProcess& proxy) {
    return proxy.Metric("sluice_tcp_connections_failed_total{reporter=\"source\",reason=\"loop\"}");
  }
  static double Active(ProxyProcess& proxy) {
    return proxy.Metric("sluice_tcp_connections_active{reporter=\"source\"}");
  }
};

INSTANTIATE_TEST_SUITE_P(, LoopTest, testing::Values(Family::kIpv4, Family::kIpv6), FamilyName);

TEST_P(LoopTest, OwnConnectionsAreRefusedAndTheUidIsNamed) {
  StartClientProxy({"--concurrency=2"}, {.who = kSomebody});
  constexpr int kTimes = 5;
  for (int i = 0; i < kTimes; ++i) Connect();
  EXPECT_TRUE(Eventually([&] { return Active(*client_proxy_) == 0; }));
  EXPECT_GE(Loops(*client_proxy_), kTimes);
  EXPECT_GE(Opened(*client_proxy_), kTimes);
  EXPECT_LE(Opened(*client_proxy_), kTimes + kFew);
  const auto line = client_proxy_->LogLine([](const boost::json::object& each) {
    return Text(each, "connection_termination_details") == "loop";
  });
  EXPECT_EQ(Text(line, "response_flags"), "NR");
  EXPECT_EQ(Text(line, "downstream_local_address"), ServerAt(8080).ToString());
  EXPECT_EQ(Text(line, "upstream_cluster"), "BlackHoleCluster");
  const std::string said = client_proxy_->process().Err();
  EXPECT_THAT(said, HasSubstr("sluice-init -u 2000"));
  EXPECT_EQ(said.find("sluice-init -u 2000"), said.rfind("sluice-init -u 2000")) << "once";
  Report(fmt::format("{} connections, {} made by the proxy, {} recognised", kTimes,
                     Opened(*client_proxy_), Loops(*client_proxy_)));
}

// Then nobody reads a socket's addresses until it looks like a loop.
TEST_P(LoopTest, WithoutAnAccessLog) {
  StartClientProxy({"--concurrency=2", "--access-log=off"}, {.who = kSomebody});
  Connect();
  EXPECT_TRUE(Eventually([&] { return Active(*client_proxy_) == 0; }));
  EXPECT_GE(Loops(*client_proxy_), 1);
  EXPECT_LE(Opened(*client_proxy_), kFew);
  Report(fmt::format("{} made by the proxy", Opened(*client_proxy_)));
}

// One generation accepts what another one has made, and makes one that any of them may accept.
TEST_P(LoopTest, AcrossGenerations) {
  StartClientProxy({"--concurrency=2"}, {.who = kSomebody});
  ProxyProcess next(client(), {"--concurrency=2", "--hand-over"}, {.who = kSomebody});
  ASSERT_TRUE(next.process().WaitForText("inbound on", kPatience)) << next.process().Err();
  for (int i = 0; i < 5; ++i) Connect();
  const auto lines = [&](ProxyProcess& proxy) {
    return static_cast<double>(std::ranges::count(proxy.process().Out(), '\n'));
  };
  // Metrics come from whichever answers, so the access logs are counted.
  EXPECT_TRUE(Eventually([&] { return lines(*client_proxy_) + lines(next) >= 10; }));
  EXPECT_LE(lines(*client_proxy_) + lines(next), 5 * kFew);
  Report(fmt::format("{} and {} lines", lines(*client_proxy_), lines(next)));
}

// Conntrack keeps an application's connection for ten seconds after a reset by the other side, and
// sends the next one from that port the same way: to the proxy, even if it is the proxy's own. That
// one is passed on once more, and arrives.
TEST_P(LoopTest, AConnectionThatFollowsAnOldEntryOfConntrackArrives) {
  constexpr std::uint16_t kOld = 40000;
  LetKernelChoose("50000 50999");
  // One worker: another one could accept the connection before the first has noted its address.
  StartProxies({"--concurrency=1"});
  Acceptor acceptor(server(), GetParam());
  ASSERT_NO_FATAL_FAILURE(LeaveEntry(acceptor, kOld));
  // The kernel first chooses the lower one for the proxy's connection.
  LetKernelChoose(fmt::format("{} {}", kOld, kOld + 1));
  auto near = Peer::Connect(client(), ServerAt(acceptor.port()), kApplication, kOld + 1000);
  ASSERT_TRUE(near);
  auto far = acceptor.Accept();
  ASSERT_TRUE(far) << client_proxy_->process().Out();
  EXPECT_TRUE(near->Send("request"));
  EXPECT_EQ(far->Receive(7), "request");
  EXPECT_TRUE(far->Send("response"));
  EXPECT_EQ(near->Receive(8), "response");
  EXPECT_EQ(Loops(*client_proxy_), 0);
  EXPECT_EQ(Opened(*client_proxy_), 3) << "the kernel has chosen another port";
}

// After many resets there are many such entries, and the kernel chooses their ports one after the
// other.
TEST_P(LoopTest, AConnectionBesideManyOldEntriesOfConntrackArrives) {
  constexpr std::uint16_t kFirst = 40000;
  constexpr std::uint16_t kPorts = 20;
  LetKernelChoose("50000 50999");
  StartProxies({"--concurrency=1"});
  Acceptor acceptor(server(), GetParam());
  // The even ones, which connect(2) chooses first.
  for (std::uint16_t port = kFirst; port < kFirst + kPorts; port += 2) {
    ASSERT_NO_FATAL_FAILURE(LeaveEntry(acceptor, port));
  }
  LetKernelChoose(fmt::format("{} {}", kFirst, kFirst + kPorts - 1));
  auto near = Peer::Connect(client(), ServerAt(acceptor.port()), kApplication, kFirst + 1000);
  ASSERT_TRUE(near);
  auto far = acceptor.Accept();
  ASSERT_TRUE(far) << client_proxy_->process().Out();
  EXPECT_TRUE(near->Send("request"));
  EXPECT_EQ(far->Receive(7), "request");
  EXPECT_EQ(Loops(*client_proxy_), 0);
  EXPECT_EQ(Opened(*client_proxy_), kPorts / 2 + 2) << "it came back once";
}

}  // namespace
}  // namespace sluice::testing_support
