// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// What one user of a pod takes must not be missing for the others: connections of the other
// direction, places for connecting ones, source ports.

#include <sys/socket.h>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "netns/sysctl.h"
#include "test/netns/proxy_fixture.h"
#include "test/netns/short_connections.h"

namespace sluice::testing_support {
namespace {

class SharesTest : public ProxyTest {
 protected:
  // Removes capture from the client's pod.
  void ReleaseClient() {
    const CommandResult result =
        RunCommand(client(), {.argv = {ProgramPath("sluice-init"), "--cleanup-only"}});
    ASSERT_EQ(result.exit_status, 0) << result.err;
  }
  // The server's proxy, with 64 places: at most 62 for one direction. One worker, so that each
  // place is counted exactly.
  void StartWith64Places() {
    StartServerProxy({"--max-connections=64", "--concurrency=1", "--connect-timeout=5m"});
  }
  // From outside any capture, through the server's proxy.
  std::optional<Pair> Inbound(const netns::Namespace& from, Acceptor& acceptor) {
    auto near = Peer::Connect(from, ServerAt(acceptor.port()));
    if (!near) return std::nullopt;
    auto far = acceptor.Accept();
    if (!far) return std::nullopt;
    return Pair{.client = std::move(*near), .server = std::move(*far)};
  }
  // One that the server's proxy refuses.
  void ExpectRefused(const netns::Namespace& from, const Acceptor& acceptor) {
    auto refused = Peer::Connect(from, ServerAt(acceptor.port()));
    // The reset may arrive before connect has returned.
    if (refused) {
      EXPECT_EQ(refused->WaitForEnd(), End::kReset);
    }
  }
  // An application in the server's pod connects to the outside.
  std::optional<Pair> Outbound(Acceptor& outside) {
    auto near = Peer::Connect(server(), {Cluster::PodIp(0, GetParam()), outside.port()});
    if (!near) return std::nullopt;
    auto far = outside.Accept();
    if (!far) return std::nullopt;
    return Pair{.client = std::move(*near), .server = std::move(*far)};
  }
  double Metric(const std::string& name, const std::string& reporter,
                const std::string& more = {}) {
    return server_proxy_->Metric(name + "{reporter=\"" + reporter + "\"" + more + "}");
  }
};

INSTANTIATE_TEST_SUITE_P(, SharesTest, testing::Values(Family::kIpv4, Family::kIpv6), FamilyName);

TEST_P(SharesTest, OneDirectionLeavesPlacesToTheOther) {
  ReleaseClient();
  StartWith64Places();
  Acceptor inside(server(), GetParam());
  Acceptor outside(client(), GetParam());
  std::vector<Pair> inbound;
  for (int i = 0; i < 62; ++i) {
    auto pair = Inbound(i % 2 == 0 ? cluster_->node() : client(), inside);
    ASSERT_TRUE(pair) << i;
    inbound.push_back(std::move(*pair));
  }
  ExpectRefused(cluster_->node(), inside);
  EXPECT_EQ(
      Metric("sluice_tcp_connections_failed_total", "destination", ",reason=\"connection_limit\""),
      1);
  auto outbound = Outbound(outside);
  ASSERT_TRUE(outbound) << "of the 64, two are outbound's in any case";
  EXPECT_TRUE(outbound->client.Send("hello"));
  EXPECT_EQ(outbound->server.Receive(5), "hello");
}

TEST_P(SharesTest, OneClientLeavesPlacesToOthers) {
  ReleaseClient();
  StartWith64Places();
  Acceptor inside(server(), GetParam());
  std::vector<Pair> greedy;
  for (int i = 0; i < 61; ++i) {
    auto pair = Inbound(cluster_->node(), inside);
    ASSERT_TRUE(pair) << i;
    greedy.push_back(std::move(*pair));
  }
  ExpectRefused(cluster_->node(), inside);
  EXPECT_EQ(
      Metric("sluice_tcp_connections_failed_total", "destination", ",reason=\"client_limit\""), 1);
  const auto line = server_proxy_->LogLine([](const boost::json::object& each) {
    return Text(each, "connection_termination_details") == "client_limit";
  });
  EXPECT_EQ(Text(line, "response_flags"), "UO");
  {
    auto other = Inbound(client(), inside);
    ASSERT_TRUE(other) << "of the 62 inbound, one is left for another client";
    EXPECT_TRUE(other->client.Send("hello"));
    EXPECT_EQ(other->server.Receive(5), "hello");
  }
  greedy.erase(greedy.begin(), greedy.begin() + 4);
  EXPECT_TRUE(
      Eventually([&] { return Metric("sluice_tcp_connections_active", "destination") == 57; }));
  EXPECT_TRUE(Inbound(cluster_->node(), inside)) << "what a client gives back it may have again";
}

TEST_P(SharesTest, OfAFewPlacesHalfIsLeftForConnectionsThatAreAnswered) {
  ReleaseClient();
  StartServerProxy({"--max-connections=8", "--concurrency=1", "--connect-timeout=5m"});
  Acceptor silent(client(), GetParam());
  ASSERT_EQ(::listen(silent.fd(), 0), 0);
  const SocketAddress there{Cluster::PodIp(0, GetParam()), silent.port()};
  std::vector<Peer> waiting;
  for (int i = 0; i < 20; ++i) {
    auto peer = Peer::Connect(server(), there, kApplication, PortOfNoProxy(i));
    if (peer) waiting.push_back(std::move(*peer));
  }
  EXPECT_TRUE(
      Eventually([&] { return Metric("istio_tcp_connections_opened_total", "source") >= 20; }));
  Acceptor outside(client(), GetParam());
  auto pair = Outbound(outside);
  ASSERT_TRUE(pair);
  EXPECT_TRUE(pair->client.Send("hello"));
  EXPECT_EQ(pair->server.Receive(5), "hello");
}

// A destination with a full queue does not answer SYNs.
TEST_P(SharesTest, ConnectsThatNobodyAnswersMakeRoomForOthers) {
  ReleaseClient();
  StartWith64Places();
  Acceptor silent(client(), GetParam());
  ASSERT_EQ(::listen(silent.fd(), 0), 0);
  const SocketAddress there{Cluster::PodIp(0, GetParam()), silent.port()};
  std::vector<Peer> waiting;
  for (int i = 0; i < 100; ++i) {
    auto peer = Peer::Connect(server(), there, kApplication, PortOfNoProxy(i));
    if (peer) waiting.push_back(std::move(*peer));
  }
  EXPECT_TRUE(
      Eventually([&] { return Metric("istio_tcp_connections_opened_total", "source") >= 100; }));
  // Half of the 64 may wait; the others were dropped, the oldest first.
  EXPECT_GE(Metric("sluice_tcp_connections_failed_total", "source", ",reason=\"pending_limit\""),
            60);
  const auto line = server_proxy_->LogLine([](const boost::json::object& each) {
    return Text(each, "connection_termination_details") == "pending_limit";
  });
  EXPECT_EQ(Text(line, "response_flags"), "UO");
  Acceptor outside(client(), GetParam());
  auto pair = Outbound(outside);
  ASSERT_TRUE(pair) << "somebody else's connection is made";
  EXPECT_TRUE(pair->client.Send("hello"));
  EXPECT_EQ(pair->server.Receive(5), "hello");
}

// Each direction may have half of the places for those that wait. Together they keep nobody out.
TEST_P(SharesTest, ConnectsOfBothDirectionsThatNobodyAnswersMakeRoom) {
  ReleaseClient();
  StartWith64Places();
  Acceptor silent_outside(client(), GetParam());
  Acceptor silent_inside(server(), GetParam());
  std::vector<Peer> waiting;
  for (const Acceptor* const silent : {&silent_outside, &silent_inside}) {
    ASSERT_EQ(::listen(silent->fd(), 0), 0);
    const bool outbound = silent == &silent_outside;
    const SocketAddress there{Cluster::PodIp(outbound ? 0 : 1, GetParam()), silent->port()};
    for (int i = 0; i < 40; ++i) {
      auto peer = Peer::Connect(outbound ? server() : client(), there, kApplication,
                                PortOfNoProxy(outbound ? i : i + 100));
      if (peer) waiting.push_back(std::move(*peer));
    }
  }
  EXPECT_TRUE(Eventually([&] {
    return Metric("sluice_tcp_connections_active", "source") +
               Metric("sluice_tcp_connections_active", "destination") ==
           64;
  }));
  Acceptor inside(server(), GetParam());
  Acceptor outside(client(), GetParam());
  auto inbound = Inbound(cluster_->node(), inside);
  auto outbound = Outbound(outside);
  for (auto* const pair : {&inbound, &outbound}) {
    ASSERT_TRUE(*pair);
    EXPECT_TRUE((*pair)->client.Send("hello"));
    EXPECT_EQ((*pair)->server.Receive(5), "hello");
  }
}

// The kernel chooses the worker: of the three connections of a round, both that wait are with one
// worker and the third with the other in a quarter of the rounds.
TEST_P(SharesTest, ConnectsOfAnotherWorkerThatNobodyAnswersMakeRoom) {
  ReleaseClient();
  StartServerProxy({"--max-connections=2", "--concurrency=2", "--connect-timeout=5m"});
  Acceptor silent(client(), GetParam());
  Acceptor outside(client(), GetParam());
  ASSERT_EQ(::listen(silent.fd(), 0), 0);
  const SocketAddress there{Cluster::PodIp(0, GetParam()), silent.port()};
  const auto the_queue = Peer::Connect(client(), there);
  ASSERT_TRUE(the_queue);
  std::vector<Peer> waiting;
  const auto active = [this] { return Metric("sluice_tcp_connections_active", "source"); };
  for (int round = 0; round < 32; ++round) {
    for (double before = active(); before < 2; ++before) {
      auto peer = Peer::Connect(server(), there, kApplication,
                                PortOfNoProxy(static_cast<int>(waiting.size())));
      ASSERT_TRUE(peer) << round;
      waiting.push_back(std::move(*peer));
      ASSERT_TRUE(Eventually([&] { return active() == before + 1; })) << round;
    }
    {
      auto pair = Outbound(outside);
      ASSERT_TRUE(pair) << round;
      EXPECT_TRUE(pair->client.Send("hello"));
      EXPECT_EQ(pair->server.Receive(5), "hello");
    }
    ASSERT_TRUE(Eventually([&] { return active() == 1; })) << round;
  }
  EXPECT_EQ(Metric("sluice_tcp_connections_failed_total", "source", ",reason=\"connection_limit\""),
            0);
  EXPECT_EQ(Metric("sluice_tcp_connections_failed_total", "source", ",reason=\"pending_limit\""),
            32);
}

class V6SharesTest : public SharesTest {};

INSTANTIATE_TEST_SUITE_P(, V6SharesTest, testing::Values(Family::kIpv6), FamilyName);

// Source ports of ::6 in TIME_WAIT are reused; the kernel does so automatically only for
// 127.0.0.6.
TEST_P(V6SharesTest, MoreConnectionsThanSourcePorts) {
  RunIn(server(), kRoot, [] { netns::WriteSysctl("ipv4/ip_local_port_range", "40000 40299"); });
  StartServerProxy({});
  const EchoServer echo(server(), GetParam());
  constexpr std::uint64_t kCount = 1500;
  ShortConnections load(cluster_->node(), {ServerAt(echo.ports().front())}, 8, kCount);
  EXPECT_TRUE(Eventually([&] { return load.done(); }));
  EXPECT_EQ(load.served(), kCount);
  EXPECT_EQ(load.refused() + load.lost(), 0U);
}

}  // namespace
}  // namespace sluice::testing_support
