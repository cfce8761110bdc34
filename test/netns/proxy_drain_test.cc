// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// The process ends in the middle of work: connections finish, and no bytes are lost.

#include <algorithm>
#include <atomic>
#include <csignal>
#include <fstream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/netns/proxy_fixture.h"
#include "test/netns/short_connections.h"
#include "test/netns/streams.h"

namespace sluice::testing_support {
namespace {

using testing::HasSubstr;
using testing::Not;

// Connections in progress at any time while listeners change hands.
constexpr std::size_t kAtOnce = 8;

class DrainTest : public ProxyTest {
 protected:
  void DrainInTheMiddleOf(std::size_t streams, std::uint64_t bytes_each);
};

INSTANTIATE_TEST_SUITE_P(, DrainTest, testing::Values(Family::kIpv4, Family::kIpv6), FamilyName);

// Part of each stream, then SIGTERM to both proxies in the middle of the transfer.
void DrainTest::DrainInTheMiddleOf(std::size_t streams, std::uint64_t bytes_each) {
  RaiseDescriptorLimit();
  StartProxies({"--drain-duration=60s"});
  Acceptor acceptor(server(), GetParam());
  Transfers transfers(bytes_each);
  for (std::size_t i = 0; i < streams; ++i) {
    auto pair = Connected(acceptor);
    ASSERT_TRUE(pair);
    transfers.Add(std::move(pair->client), std::move(pair->server));
  }
  // So little that all have most of their data still to come.
  EXPECT_TRUE(transfers.RunIntoTheMiddle(streams * bytes_each / 8));
  const std::uint64_t arrived = transfers.arrived();
  const std::size_t under_way = transfers.begun() - transfers.complete();
  // They take turns, so that hardly any ends before the last has begun.
  EXPECT_GT(under_way, streams * 9 / 10);
  client_proxy_->process().Signal(SIGTERM);
  server_proxy_->process().Signal(SIGTERM);
  EXPECT_TRUE(transfers.RunToTheEnd());
  EXPECT_EQ(transfers.complete(), streams);
  for (ProxyProcess* proxy : {client_proxy_.get(), server_proxy_.get()}) {
    const CommandResult result = proxy->process().Wait(kPatience);
    EXPECT_FALSE(result.timed_out) << "it leaves early when nothing is left";
    EXPECT_EQ(result.exit_status, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr("drained"));
    EXPECT_EQ(std::ranges::count(result.out, '\n'), static_cast<std::ptrdiff_t>(streams))
        << "the log is complete";
  }
  Report(fmt::format("SIGTERM after {} of {} MiB, in the middle of {} of {} transfers: {} complete",
                     arrived >> 20, (streams * bytes_each) >> 20, under_way, streams,
                     transfers.complete()));
}

TEST_P(DrainTest, SixteenLargeTransfersWithNothingLost) { DrainInTheMiddleOf(16, 16 << 20); }

TEST_P(DrainTest, TwoThousandTransfersWithNothingLost) { DrainInTheMiddleOf(2000, 256 << 10); }

// New connections keep coming while the server's proxy is told to end: each is either served or
// refused; none is accepted and then lost.
TEST_P(DrainTest, ClosesItsListenersWithoutLosingAConnection) {
  StartServerProxy({"--drain-duration=60s"});
  const EchoServer echo(server(), GetParam());
  // From outside the client pod's capture: directly from the node.
  const ShortConnections load(cluster_->node(), {ServerAt(echo.ports().front())}, kAtOnce);
  EXPECT_TRUE(Eventually([&] { return load.served() > 200; }));
  server_proxy_->process().Signal(SIGTERM);
  const CommandResult result = server_proxy_->process().Wait(kPatience);
  EXPECT_EQ(result.exit_status, 0) << result.err;
  EXPECT_TRUE(Eventually([&] { return load.done(); }));
  EXPECT_EQ(load.lost(), 0U) << "of " << load.served();
  EXPECT_EQ(load.refused(), kAtOnce);
}

// How often a SYN was sent again, a second after it was not answered.
long SynRetransmissions(const netns::Namespace& where) {
  return CallIn(where, kRoot, [] {
    std::ifstream file("/proc/thread-self/net/netstat");
    std::string line;
    std::getline(file, line);
    std::istringstream names(line);
    std::getline(file, line);
    std::istringstream values(line);
    std::string name;
    std::string value;
    while (names >> name && values >> value) {
      if (name == "TCPSynRetrans") return std::stol(value);
    }
    throw std::runtime_error("the kernel does not count TCPSynRetrans");
  });
}

// Each generation takes the listening sockets of the previous one, which had another number of
// workers, and tells it to end, while connections come in: each is served, and none waits for a
// second SYN.
TEST_P(DrainTest, GenerationsHandOverWithoutHoldingAConnectionUp) {
  StartServerProxy({"--concurrency=3", "--drain-duration=60s"});
  const EchoServer echo(server(), GetParam());
  const long before = SynRetransmissions(cluster_->node());
  ShortConnections load(cluster_->node(), {ServerAt(echo.ports().front())}, kAtOnce);
  for (const char* const workers : {"--concurrency=1", "--concurrency=4", "--concurrency=2"}) {
    const std::uint64_t served = load.served();
    EXPECT_TRUE(Eventually([&] { return load.served() > served + 200; }));
    auto next = std::make_unique<ProxyProcess>(
        server(),
        std::vector<std::string>{workers, "--hand-over", "--stop-old", "--drain-duration=60s"});
    EXPECT_TRUE(next->process().WaitForText("which drains", kPatience)) << next->process().Err();
    const CommandResult result = server_proxy_->process().Wait(kPatience);
    EXPECT_FALSE(result.timed_out) << "nobody told it";
    EXPECT_EQ(result.exit_status, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr("drained"));
    server_proxy_ = std::move(next);
  }
  const std::uint64_t served = load.served();
  EXPECT_TRUE(Eventually([&] { return load.served() > served + 200; }));
  load.Stop();
  EXPECT_EQ(load.refused() + load.lost(), 0U) << "of " << load.served();
  EXPECT_EQ(SynRetransmissions(cluster_->node()) - before, 0) << "of " << load.served();
}

// A proxy that is not told to stop goes on accepting from the same sockets, and leaves them to the
// other one when it is told.
TEST_P(DrainTest, HandOverSaysThatTheOldOneGoesOn) {
  StartServerProxy({"--drain-duration=60s"});
  const EchoServer echo(server(), GetParam());
  const long before = SynRetransmissions(cluster_->node());
  ProxyProcess next(server(), {"--hand-over"});
  EXPECT_TRUE(next.process().WaitForText("--stop-old", kPatience)) << next.process().Err();
  EXPECT_THAT(next.process().Err(),
              HasSubstr("process " + std::to_string(server_proxy_->process().pid())));
  ShortConnections load(cluster_->node(), {ServerAt(echo.ports().front())}, kAtOnce);
  EXPECT_TRUE(Eventually([&] { return !server_proxy_->Log().empty() && !next.Log().empty(); }))
      << "both accept";
  server_proxy_->process().Signal(SIGTERM);
  EXPECT_EQ(server_proxy_->process().Wait(kPatience).exit_status, 0);
  const std::uint64_t served = load.served();
  EXPECT_TRUE(Eventually([&] { return load.served() > served + 200; }));
  load.Stop();
  EXPECT_EQ(load.refused() + load.lost(), 0U) << "of " << load.served();
  EXPECT_EQ(SynRetransmissions(cluster_->node()) - before, 0) << "of " << load.served();
}

// A second proxy takes over the ports while connections come in: each is served.
TEST_P(DrainTest, HandsItsPortsOverWithoutRefusingAConnection) {
  StartServerProxy({"--drain-duration=60s"});
  const EchoServer echo(server(), GetParam());
  ShortConnections load(cluster_->node(), {ServerAt(echo.ports().front())}, kAtOnce);
  EXPECT_TRUE(Eventually([&] { return load.served() > 200; }));
  ProxyProcess next(server(), {"--hand-over"});
  EXPECT_TRUE(next.process().WaitForText("inbound on", kPatience)) << next.process().Err();
  server_proxy_->process().Signal(SIGTERM);
  const CommandResult result = server_proxy_->process().Wait(kPatience);
  EXPECT_EQ(result.exit_status, 0) << result.err;
  const std::uint64_t before = load.served();
  EXPECT_TRUE(Eventually([&] { return load.served() > before + 200; }));
  load.Stop();
  EXPECT_EQ(load.refused() + load.lost(), 0U) << "of " << load.served();
  EXPECT_TRUE(Eventually([&] { return next.Log().size() >= 200; }));
}

TEST_P(DrainTest, DrainingIsNotReadyAndTheApplicationMayStillConnect) {
  StartProxies({"--drain-duration=60s"});
  Acceptor acceptor(server(), GetParam());
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  client_proxy_->process().Signal(SIGTERM);
  EXPECT_TRUE(Eventually([&] { return client_proxy_->Get(15020, "/healthz/ready").first == 503; }));
  EXPECT_TRUE(Eventually([&] {  // no more inbound connections
    return !Peer::Connect(cluster_->node(), {Cluster::PodIp(0, GetParam()), 8080});
  }));
  auto late = Connected(acceptor);
  ASSERT_TRUE(late) << "the application needs its database to finish its work";
  EXPECT_TRUE(late->client.Send("late"));
  EXPECT_EQ(late->server.Receive(4), "late");
  EXPECT_TRUE(client_proxy_->process().Running());
  for (Pair* open : {&*pair, &*late}) {
    open->client.Close();
    open->server.Close();
  }
  EXPECT_EQ(client_proxy_->process().Wait(kPatience).exit_status, 0);
}

TEST_P(DrainTest, ResetsWhatIsLeftAtTheDeadline) {
  StartClientProxy({"--drain-duration=300ms"});
  StartServerProxy({});
  Acceptor acceptor(server(), GetParam());
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  client_proxy_->process().Signal(SIGTERM);
  EXPECT_EQ(pair->client.WaitForEnd(), End::kReset);
  EXPECT_EQ(pair->server.WaitForEnd(), End::kReset);
  const CommandResult result = client_proxy_->process().Wait(kPatience);
  EXPECT_EQ(result.exit_status, 0);
  EXPECT_THAT(result.out, HasSubstr("\"response_flags\":\"DT\""));
  EXPECT_THAT(result.out, HasSubstr("drain_timeout"));
}

TEST_P(DrainTest, ASecondSignalEndsAtOnce) {
  StartClientProxy({"--drain-duration=1h"});
  StartServerProxy({});
  Acceptor acceptor(server(), GetParam());
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  client_proxy_->process().Signal(SIGTERM);
  EXPECT_TRUE(client_proxy_->process().WaitForText("draining", kPatience));
  client_proxy_->process().Signal(SIGTERM);
  EXPECT_EQ(client_proxy_->process().Wait(kPatience).exit_status, 0);
  EXPECT_EQ(pair->client.WaitForEnd(), End::kReset);
}

// As a preStop hook does it, which may run twice; then the kubelet sends SIGTERM.
TEST_P(DrainTest, HoweverOftenItIsAskedForOneDrainIsOneDrain) {
  StartClientProxy({"--drain-duration=1h"});
  StartServerProxy({});
  Acceptor acceptor(server(), GetParam());
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  std::vector<std::thread> hooks;
  std::atomic<int> agreed = 0;
  for (int i = 0; i < 8; ++i) {
    hooks.emplace_back([&] {
      if (client_proxy_->Get(15000, "/drain", "POST").first == 200) ++agreed;
    });
  }
  for (std::thread& hook : hooks) hook.join();
  EXPECT_EQ(agreed, 8);
  EXPECT_TRUE(
      client_proxy_->process().WaitForText("draining 1 connections, up to 3600 s", kPatience))
      << client_proxy_->process().Err();
  client_proxy_->process().Signal(SIGTERM);
  // If it were to end, it would do so within its next few checks for signals.
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(pair->client.Send("x"));
    EXPECT_EQ(pair->server.Receive(1), "x");
    EXPECT_EQ(client_proxy_->Get(15020, "/healthz/ready").first, 503);
  }
  pair->client.Close();
  pair->server.Close();
  const CommandResult result = client_proxy_->process().Wait(kPatience);
  EXPECT_EQ(result.exit_status, 0);
  EXPECT_THAT(result.err, HasSubstr("drained"));
  EXPECT_THAT(result.err, Not(HasSubstr("reset")));
}

}  // namespace
}  // namespace sluice::testing_support
