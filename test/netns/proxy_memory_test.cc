// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// A proxy with little memory, as in a small container: more connections than fit are refused, and
// the existing ones continue, to the last byte.

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/netns/proxy_fixture.h"
#include "test/netns/streams.h"
#include "test/support/memory_group.h"

namespace sluice::testing_support {
namespace {

constexpr std::uint64_t kLimitBytes = 32 << 20;
// More than twice as many as fit: the proxy calculates 24 KiB for each.
constexpr int kConnections = 3000;
// Each server's answer; far more than the buffers on the way hold.
constexpr std::size_t kAnswerBytes = 256 << 10;

class MemoryTest : public ProxyTest {
 protected:
  // A connection from outside through the server's proxy; none if it was refused.
  std::optional<Pair> ConnectUnlessRefused(Acceptor& acceptor);
};

INSTANTIATE_TEST_SUITE_P(, MemoryTest, testing::Values(Family::kIpv4, Family::kIpv6), FamilyName);

std::optional<ProxyTest::Pair> MemoryTest::ConnectUnlessRefused(Acceptor& acceptor) {
  auto peer = Peer::Connect(cluster_->node(), ServerAt(acceptor.port()));
  if (!peer) return std::nullopt;
  pollfd either[] = {{.fd = peer->fd(), .events = POLLIN, .revents = 0},
                     {.fd = acceptor.fd(), .events = POLLIN, .revents = 0}};
  const auto patience = std::chrono::milliseconds(kPatience);
  EXPECT_GT(::poll(either, 2, static_cast<int>(patience.count())), 0) << "it hangs";
  if (either[1].revents == 0) return std::nullopt;
  auto far = acceptor.Accept();
  if (!far) return std::nullopt;
  return Pair{.client = std::move(*peer), .server = std::move(*far)};
}

TEST_P(MemoryTest, ServesWhatFitsAndRefusesTheRest) {
  RaiseDescriptorLimit();
  const auto group = MemoryGroup::Make(kLimitBytes);
  if (!group) GTEST_SKIP() << "no cgroup with a memory controller that we may use";
  // The proxy receives whole buffers and cannot pass them on, so it has to hold something for each
  // connection.
  LimitSocketBuffers(server(), 256 << 10, 16 << 10);
  LimitSocketBuffers(cluster_->node(), 16 << 10, 16 << 10);
  // The log is not kept in memory, as standard output is here.
  StartServerProxy({"--concurrency=1", "--access-log=/dev/null"}, {.cgroup_procs = group->procs()});
  Acceptor acceptor(server(), GetParam());
  auto pair = ConnectUnlessRefused(acceptor);
  ASSERT_TRUE(pair);
  WellBehaved well_behaved(std::move(pair->client), std::move(pair->server));

  const Pattern pattern(1);
  std::vector<Pair> served;
  std::uint64_t most_used = 0;
  for (int i = 0; i < kConnections; ++i) {
    auto connected = ConnectUnlessRefused(acceptor);
    most_used = std::max(most_used, group->UsedBytes());
    if (!connected) continue;
    // The application has a large buffer of its own all the same.
    const int size = kAnswerBytes / 2;
    ::setsockopt(connected->server.fd(), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    served.push_back(std::move(*connected));
  }
  const std::size_t refused = kConnections - served.size();
  // Nobody reads the answers yet. Several rounds, because the proxy takes part of them meanwhile.
  std::vector<std::size_t> sent(served.size());
  for (int pass = 0; pass < 5; ++pass) {
    for (std::size_t i = 0; i < served.size(); ++i) {
      sent[i] = SendUntilFull(served[i].server, pattern, sent[i], kAnswerBytes);
    }
    most_used = std::max(most_used, group->UsedBytes());
  }
  for (Pair& each : served) each.server.EndSending();
  EXPECT_TRUE(well_behaved.MakesRounds(20)) << "with memory as short as it can be";
  most_used = std::max(most_used, group->UsedBytes());
  const std::string pings = well_behaved.TakeLatencies().ToString();
  EXPECT_EQ(group->Kills(), 0U);
  ASSERT_TRUE(server_proxy_->process().Running());
  EXPECT_GT(served.size(), 1000U);
  EXPECT_GT(refused, 1000U);
  // All are of one client, which leaves some places to others.
  EXPECT_EQ(server_proxy_->Metric("sluice_tcp_connections_failed_total{reporter=\"destination\","
                                  "reason=\"client_limit\"}"),
            static_cast<double>(refused));

  std::uint64_t right = 0;
  for (std::size_t i = 0; i < served.size(); ++i) {
    const std::uint64_t received = ReceivePattern(served[i].client, pattern);
    EXPECT_EQ(received, sent[i]);
    right += received;
  }
  served.clear();
  EXPECT_TRUE(Eventually([&] {
    return server_proxy_->Metric("sluice_tcp_connections_active{reporter=\"destination\"}") == 1;
  }));
  EXPECT_TRUE(ConnectUnlessRefused(acceptor)) << "there is room again";
  EXPECT_FALSE(well_behaved.failed());
  Report(
      fmt::format("{} connections in {} MiB: {} served with {:.1f} MB right, {} refused; at most "
                  "{:.1f} MiB used, {} killed; ping {}",
                  kConnections, kLimitBytes >> 20, sent.size(), static_cast<double>(right) / 1e6,
                  refused, static_cast<double>(most_used) / (1 << 20), group->Kills(), pings));
}

}  // namespace
}  // namespace sluice::testing_support
