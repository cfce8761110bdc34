// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// accept4(2) fails in one worker: if resources are missing, it waits without spinning, and
// continues; if a single connection failed, it continues at once. The other worker is not affected.

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/netns/proxy_fixture.h"
#include "test/netns/short_connections.h"
#include "test/support/accept_failures.h"

namespace sluice::testing_support {
namespace {

class AcceptTest : public ProxyTest {
 protected:
  void Start() { StartServerProxy({"--concurrency=2"}, {.environment = failures_.Environment()}); }
  void PausesOn(int error);
  void LosesOneConnectionOn(int error);
  double Pauses() { return server_proxy_->Metric("sluice_accept_pauses_total"); }

  AcceptFailures failures_;
};

INSTANTIATE_TEST_SUITE_P(, AcceptTest, testing::Values(Family::kIpv4), FamilyName);

void AcceptTest::PausesOn(int error) {
  Start();
  const EchoServer echo(server(), GetParam());
  AcceptFailurePlan& plan = failures_.plan();
  plan.left = -1;
  plan.error = error;
  // SO_REUSEPORT gives each worker about half of them.
  std::vector<Peer> peers;
  for (int i = 0; i < 64; ++i) {
    auto peer = Peer::Connect(cluster_->node(), ServerAt(echo.ports().front()));
    ASSERT_TRUE(peer);
    EXPECT_TRUE(peer->Send("ping"));
    peers.push_back(std::move(*peer));
  }
  const auto cpu = server_proxy_->Cpu();
  EXPECT_TRUE(Eventually([&] { return Pauses() >= 5; }));
  // A pause costs the failed call, and at least one for each listener, to reset a client.
  constexpr double kCallsPerPause = 1 + 4;
  const auto failed = static_cast<double>(plan.failed.load());
  EXPECT_LE(failed, Pauses() * kCallsPerPause) << "it spins";
  const auto used = server_proxy_->Cpu() - cpu;

  const auto is_answered = [](const Peer& peer) {
    char byte = 0;
    return ::recv(peer.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
  };
  EXPECT_TRUE(Eventually([&] { return std::ranges::any_of(peers, is_answered); }))
      << "the other worker does not go on";
  const auto answered = std::ranges::count_if(peers, is_answered);
  EXPECT_LT(answered, 64) << "nothing has failed";

  plan.error = 0;
  for (Peer& peer : peers) EXPECT_EQ(peer.Receive(4), "ping");
  Report(fmt::format(
      "accept4: {}: {} pauses, {} calls, {} ms of CPU; {} of 64 answered meanwhile, all after it",
      std::strerror(error), Pauses(), failed, used.count(), answered));
}

TEST_P(AcceptTest, PausesWithoutDescriptors) { PausesOn(EMFILE); }
TEST_P(AcceptTest, PausesWithoutFilesInTheSystem) { PausesOn(ENFILE); }
TEST_P(AcceptTest, PausesWithoutMemory) { PausesOn(ENOMEM); }
TEST_P(AcceptTest, PausesWithoutBuffers) { PausesOn(ENOBUFS); }
// A security module refuses before the connection is taken off the queue, and so would refuse again
// and again.
TEST_P(AcceptTest, PausesWithoutPermission) { PausesOn(EPERM); }

void AcceptTest::LosesOneConnectionOn(int error) {
  Start();
  const EchoServer echo(server(), GetParam());
  AcceptFailurePlan& plan = failures_.plan();
  constexpr int kLost = 20;
  plan.loses_connection = true;
  plan.left = kLost;
  plan.error = error;
  ShortConnections load(cluster_->node(), {ServerAt(echo.ports().front())}, 2 * kLost);
  EXPECT_TRUE(Eventually([&] { return plan.left == 0; }));
  const std::uint64_t before = load.served();
  EXPECT_TRUE(Eventually([&] { return load.served() > before + 1000; }));
  load.Stop();
  EXPECT_EQ(load.lost(), kLost);
  EXPECT_EQ(load.refused(), 0U);
  EXPECT_EQ(Pauses(), 0) << "of a connection that is gone, nobody else must suffer";
  Report(fmt::format("accept4: {}: {} lost, {} served, no pause", std::strerror(error), kLost,
                     load.served()));
}

TEST_P(AcceptTest, GoesOnAfterAnAbortedConnection) { LosesOneConnectionOn(ECONNABORTED); }
TEST_P(AcceptTest, GoesOnAfterAProtocolError) { LosesOneConnectionOn(EPROTO); }
TEST_P(AcceptTest, GoesOnWhenTheNetworkWasDown) { LosesOneConnectionOn(ENETDOWN); }

}  // namespace
}  // namespace sluice::testing_support
