// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Hostile peers of a proxy, while one connection through the same worker behaves well: its bytes
// stay correct, its latency is reported, and the hostility leaves nothing behind.

#include <sys/socket.h>

#include <cerrno>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/netns/proxy_fixture.h"
#include "test/netns/streams.h"

namespace sluice::testing_support {
namespace {

// Enough pings for a meaningful 99th percentile.
constexpr std::uint64_t kRounds = 100;

// The size of each socket's buffer on a stalled connection.
constexpr std::size_t kStalledBytes = 128 << 10;

// The pipes that one worker keeps: see PipePool.
constexpr int kPooledPipeEnds = 2 * 16;

class HostileTest : public ProxyTest {
 protected:
  // One worker in each proxy, shared by all, and a well-behaved connection.
  void Begin(std::vector<std::string> flags = {});
  // The well-behaved connection continues for a while.
  void Meanwhile() { EXPECT_TRUE(well_behaved_->MakesRounds(kRounds)) << "the stream is stuck"; }
  // Checks that `hostility` has left nothing behind.
  void Finish(const std::string& hostility);

  std::vector<Pair> ConnectMany(Acceptor& acceptor, std::size_t count);
  // Connects; the only expected result is a reset.
  bool IsReset(const SocketAddress& to);

 private:
  struct State {
    double active = 0;
    int sockets = 0;
    int descriptors = 0;
  };
  static State StateOf(ProxyProcess& proxy);

  std::unique_ptr<WellBehaved> well_behaved_;
  std::vector<State> before_;
  std::string quiet_;
};

INSTANTIATE_TEST_SUITE_P(, HostileTest, testing::Values(Family::kIpv4, Family::kIpv6), FamilyName);

HostileTest::State HostileTest::StateOf(ProxyProcess& proxy) {
  return {.active = proxy.Metric("sluice_tcp_connections_active{reporter=\"source\"}") +
                    proxy.Metric("sluice_tcp_connections_active{reporter=\"destination\"}"),
          .sockets = proxy.OpenSockets(),
          .descriptors = proxy.OpenDescriptors()};
}

void HostileTest::Begin(std::vector<std::string> flags) {
  RaiseDescriptorLimit();
  flags.push_back("--concurrency=1");
  StartProxies(flags);
  Acceptor acceptor(server(), GetParam());
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  well_behaved_ = std::make_unique<WellBehaved>(std::move(pair->client), std::move(pair->server));
  Meanwhile();
  quiet_ = well_behaved_->TakeLatencies().ToString();
  before_ = {StateOf(*client_proxy_), StateOf(*server_proxy_)};
}

void HostileTest::Finish(const std::string& hostility) {
  const std::string under_attack = well_behaved_->TakeLatencies().ToString();
  std::string left;
  const auto nothing_left = [&] {
    left.clear();
    bool none = true;
    std::size_t i = 0;
    for (ProxyProcess* proxy : {client_proxy_.get(), server_proxy_.get()}) {
      const State& before = before_[i++];
      const State now = StateOf(*proxy);
      none = none && now.active == before.active && now.sockets <= before.sockets &&
             now.descriptors <= before.descriptors + kPooledPipeEnds;
      left += fmt::format("; {} -> {} connections, {} -> {} descriptors", before.active, now.active,
                          before.descriptors, now.descriptors);
    }
    return none;
  };
  EXPECT_TRUE(Eventually(nothing_left)) << "something is left behind" << left;
  Meanwhile();
  EXPECT_FALSE(well_behaved_->failed());
  Report(fmt::format("{}: {:.1f} MB of the well-behaved stream right; ping {} (before: {}){}",
                     hostility, static_cast<double>(well_behaved_->bytes()) / 1e6, under_attack,
                     quiet_, left));
}

std::vector<ProxyTest::Pair> HostileTest::ConnectMany(Acceptor& acceptor, std::size_t count) {
  std::vector<Pair> out;
  for (std::size_t i = 0; i < count; ++i) {
    auto pair = Connected(acceptor);
    EXPECT_TRUE(pair) << "after " << i;
    if (!pair) break;
    out.push_back(std::move(*pair));
  }
  return out;
}

bool HostileTest::IsReset(const SocketAddress& to) {
  // The reset may arrive before connect(2) has returned.
  auto peer = Peer::Connect(client(), to);
  return !peer || peer->WaitForEnd() == End::kReset;
}

TEST_P(HostileTest, ClientsThatSayNothing) {
  Begin();
  {
    Acceptor acceptor(server(), GetParam());
    const auto silent = ConnectMany(acceptor, 1000);
    Meanwhile();
  }
  Finish("1000 clients that say nothing");
}

TEST_P(HostileTest, ClientsThatReadOneByteASecond) {
  for (const auto* pod : {&client(), &server()})
    LimitSocketBuffers(*pod, kStalledBytes, kStalledBytes);
  Begin();
  {
    Acceptor acceptor(server(), GetParam());
    auto slow = ConnectMany(acceptor, 300);  // far more than a worker has pipes
    // More than the buffers on the way hold, so that all of them are always full.
    constexpr std::size_t kBytes = 2 << 20;
    const Pattern pattern(1);
    std::vector<std::size_t> sent;
    for (Pair& pair : slow) {
      sent.push_back(SendUntilFull(pair.server, pattern, 0, kBytes));
      EXPECT_LT(sent.back(), kBytes) << "nothing is full";
      pair.server.EndSending();
    }
    std::string got;
    for (int second = 0; second < 3; ++second) {
      for (Pair& pair : slow) got = pair.client.Receive(1);
      std::this_thread::sleep_for(std::chrono::seconds(1));
    }
    // Half of them lose patience; the others read what has been waiting.
    for (std::size_t i = 0; i < slow.size() / 2; ++i) {
      End end{};
      const std::string rest = slow[i].client.ReceiveAll(end);
      EXPECT_EQ(end, End::kFin);
      EXPECT_EQ(rest.size() + 3, sent[i]);
      EXPECT_TRUE(pattern.Matches(3, rest));
    }
  }
  Finish("300 clients that read one byte a second");
}

TEST_P(HostileTest, ClientsThatResetInTheMiddle) {
  Begin();
  {
    Acceptor acceptor(server(), GetParam());
    const std::string part(32 << 10, 'x');
    for (int round = 0; round < 10; ++round) {
      auto pairs = ConnectMany(acceptor, 100);
      for (Pair& pair : pairs) EXPECT_TRUE(pair.client.Send(part));
      for (Pair& pair : pairs) EXPECT_EQ(pair.server.Receive(1), "x");
      for (Pair& pair : pairs) pair.client.Reset();
      for (Pair& pair : pairs) {
        EXPECT_EQ(pair.server.WaitForEnd(), End::kReset);
      }
    }
    Meanwhile();
  }
  Finish("1000 clients that reset in the middle");
}

TEST_P(HostileTest, ServersThatNeverAnswer) {
  for (const auto* pod : {&client(), &server()})
    LimitSocketBuffers(*pod, kStalledBytes, kStalledBytes);
  Begin();
  {
    Acceptor acceptor(server(), GetParam());
    const auto unanswered = ConnectMany(acceptor, 500);
    for (const Pair& pair : unanswered) SendUntilFull(pair.client, Pattern(1), 0, 2 << 20);
    Meanwhile();
  }
  Finish("500 servers that accept and never answer");
}

TEST_P(HostileTest, ServersThatReset) {
  Begin();
  {
    Acceptor acceptor(server(), GetParam());
    for (int round = 0; round < 10; ++round) {
      auto pairs = ConnectMany(acceptor, 100);
      for (Pair& pair : pairs) EXPECT_TRUE(pair.client.Send("request"));
      for (Pair& pair : pairs) pair.server.Reset();
      for (Pair& pair : pairs) {
        EXPECT_EQ(pair.client.WaitForEnd(), End::kReset);
      }
    }
    Meanwhile();
  }
  Finish("1000 servers that reset");
}

TEST_P(HostileTest, ServersThatHalfCloseFirst) {
  Begin();
  {
    Acceptor acceptor(server(), GetParam());
    auto pairs = ConnectMany(acceptor, 500);
    for (Pair& pair : pairs) pair.server.EndSending();
    for (Pair& pair : pairs) {
      EXPECT_EQ(pair.client.WaitForEnd(), End::kFin);
    }
    Meanwhile();
    // The other direction still works.
    const std::string request(8 << 10, 'x');
    for (Pair& pair : pairs) {
      EXPECT_TRUE(pair.client.Send(request));
      pair.client.EndSending();
      End end{};
      EXPECT_EQ(pair.server.ReceiveAll(end), request);
      EXPECT_EQ(end, End::kFin);
    }
  }
  Finish("500 servers that half-close first");
}

TEST_P(HostileTest, PortScan) {
  Begin();
  // Below the range from which the well-behaved connection's acceptor has its port.
  constexpr std::uint16_t kFirst = 20'000;
  constexpr std::uint16_t kPorts = 2000;
  int reset = 0;
  for (std::uint16_t port = kFirst; port < kFirst + kPorts; ++port) {
    reset += IsReset(ServerAt(port)) ? 1 : 0;
  }
  EXPECT_EQ(reset, kPorts);
  Meanwhile();
  Finish("a scan of 2000 closed ports");
}

TEST_P(HostileTest, DestinationsThatDoNotExist) {
  Begin({"--connect-timeout=1s"});
  const bool v4 = GetParam() == Family::kIpv4;
  // The first does not answer neighbour discovery; the node has no route to the second.
  const SocketAddress nowhere[] = {{IpAddress::Parse(v4 ? "10.244.1.9" : "fd00:244:1::9"), 80},
                                   {IpAddress::Parse(v4 ? "203.0.113.1" : "fd00:dead::1"), 80}};
  {
    std::vector<Peer> peers;
    for (int i = 0; i < 1000; ++i) {
      auto peer = Peer::Connect(client(), nowhere[i % 2], kApplication, PortOfNoProxy(i));
      // The reset may arrive before connect(2) has returned.
      ASSERT_TRUE(peer || errno == ECONNRESET) << "after " << i << ", errno " << errno;
      if (peer) peers.push_back(std::move(*peer));
    }
    for (Peer& peer : peers) {
      EXPECT_EQ(peer.WaitForEnd(), End::kReset);
    }
  }
  double failed = 0;
  for (const std::string reason : {"connect_timeout", "connect_unreachable"}) {
    failed += client_proxy_->Metric(
        "sluice_tcp_connections_failed_total{reporter=\"source\",reason=\"" + reason + "\"}");
  }
  EXPECT_EQ(failed, 1000);
  Meanwhile();
  Finish("1000 connections to destinations that do not exist");
}

}  // namespace
}  // namespace sluice::testing_support
