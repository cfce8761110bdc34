// Much at once, and the end of the process in the middle of it: nothing may be lost.

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/netns/proxy_fixture.h"

namespace sluice::testing_support {
namespace {

using testing::HasSubstr;

// A stream of bytes that is known at every position, and differs between connections: what is lost,
// doubled or swapped changes the sum.
class Pattern {
 public:
  explicit Pattern(std::uint64_t seed) : state_(seed * 2654435761U + 1) {}

  void Fill(std::string& buffer) {
    for (std::size_t i = 0; i + 8 <= buffer.size(); i += 8) {
      // xorshift64 (Marsaglia 2003).
      state_ ^= state_ << 13;
      state_ ^= state_ >> 7;
      state_ ^= state_ << 17;
      std::memcpy(buffer.data() + i, &state_, 8);
    }
  }

 private:
  std::uint64_t state_;
};

constexpr std::size_t kBlock = 64 * 1024;

void SendPattern(Peer& peer, std::uint64_t seed, std::size_t blocks) {
  Pattern pattern(seed);
  std::string block(kBlock, '\0');
  for (std::size_t i = 0; i < blocks; ++i) {
    pattern.Fill(block);
    if (!peer.Send(block)) return;
  }
  peer.EndSending();
}

// The number of blocks that arrived as they were sent; the stream must end with a FIN.
std::size_t ReceivePattern(Peer& peer, std::uint64_t seed) {
  Pattern pattern(seed);
  std::string expected(kBlock, '\0');
  for (std::size_t blocks = 0;; ++blocks) {
    const std::string got = peer.Receive(kBlock);
    if (got.empty()) {
      EXPECT_EQ(peer.WaitForEnd(), End::kFin);
      return blocks;
    }
    pattern.Fill(expected);
    if (got != expected) {
      ADD_FAILURE() << "wrong bytes in block " << blocks;
      return blocks;
    }
  }
}

class LoadTest : public ProxyTest {};

class ManyTest : public ProxyTest {
 protected:
  void UseAtOnce(std::size_t count);
};

INSTANTIATE_TEST_SUITE_P(, ManyTest, testing::Values(Family::kIpv4, Family::kIpv6), FamilyName);

INSTANTIATE_TEST_SUITE_P(, LoadTest, testing::Values(Family::kIpv4, Family::kIpv6), FamilyName);

TEST_P(LoadTest, CarriesAGibibyteBothWaysAtOnce) {
  StartProxies();
  Acceptor acceptor(server(), GetParam());
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  constexpr std::size_t kBlocks = (1UL << 30) / kBlock;
  std::thread up([&] { SendPattern(pair->client, 1, kBlocks); });
  std::thread down([&] { SendPattern(pair->server, 2, kBlocks); });
  std::size_t received_by_server = 0;
  std::thread sink([&] { received_by_server = ReceivePattern(pair->server, 1); });
  EXPECT_EQ(ReceivePattern(pair->client, 2), kBlocks);
  sink.join();
  up.join();
  down.join();
  EXPECT_EQ(received_by_server, kBlocks);
  const auto line = client_proxy_->LogLineTo(ServerAt(acceptor.port()));
  EXPECT_EQ(line.at("bytes_received"), 1L << 30);
  EXPECT_EQ(line.at("bytes_sent"), 1L << 30);
}

// Opens `count` connections, uses each of them and closes them: nothing is lost.
void ManyTest::UseAtOnce(std::size_t count) {
  StartProxies();
  Acceptor acceptor(server(), GetParam());
  const int descriptors = client_proxy_->OpenDescriptors();
  std::vector<Peer> clients;
  std::vector<Peer> servers;
  std::thread connecting([&] {
    for (std::size_t i = 0; i < count; ++i) {
      auto peer = Peer::Connect(client(), ServerAt(acceptor.port()));
      if (!peer) return;
      clients.push_back(std::move(*peer));
    }
  });
  for (std::size_t i = 0; i < count; ++i) {
    auto peer = acceptor.Accept();
    if (!peer) break;
    servers.push_back(std::move(*peer));
  }
  connecting.join();
  ASSERT_EQ(clients.size(), count);
  ASSERT_EQ(servers.size(), count);
  EXPECT_EQ(client_proxy_->Metric("sluice_tcp_connections_active{reporter=\"source\"}"), count);
  // All of them are asked before any is answered, each with its own number.
  for (std::size_t i = 0; i < count; ++i) {
    ASSERT_TRUE(clients[i].Send("number " + std::to_string(10000 + i)));
  }
  for (Peer& peer : servers) {
    const std::string number = peer.Receive(12);
    ASSERT_THAT(number, testing::StartsWith("number "));
    ASSERT_TRUE(peer.Send("you are " + number));
    peer.Close();
  }
  for (std::size_t i = 0; i < count; ++i) {
    End end{};
    ASSERT_EQ(clients[i].ReceiveAll(end), "you are number " + std::to_string(10000 + i));
    ASSERT_EQ(end, End::kFin);
  }
  clients.clear();
  for (ProxyProcess* proxy : {client_proxy_.get(), server_proxy_.get()}) {
    EXPECT_TRUE(Eventually([&] {
      const std::string log = proxy->process().Out();
      return static_cast<std::size_t>(std::ranges::count(log, '\n')) == count;
    }));
  }
  // The scrape's own descriptor, and one that is being closed.
  EXPECT_LE(client_proxy_->OpenDescriptors(), descriptors + 4) << "none is left open";
}

TEST_P(ManyTest, TwoThousandConnectionsAtOnce) { UseAtOnce(2000); }

// What a limit of 20,000 descriptors allows, for the proxies and for this process, which has both
// ends of each connection.
TEST_P(ManyTest, NineThousandFiveHundredConnectionsAtOnce) {
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  if (limit.rlim_max < 20'000) GTEST_SKIP() << "the descriptor limit is " << limit.rlim_max;
  limit.rlim_cur = limit.rlim_max;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  UseAtOnce(9500);
}

TEST_P(LoadTest, DrainsUnderLoadWithNothingLost) {
  StartProxies({"--drain-duration=60s"});
  Acceptor acceptor(server(), GetParam());
  constexpr std::size_t kStreams = 16;
  constexpr std::size_t kBlocks = 256;  // 16 MiB each
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < kStreams; ++i) {
    auto pair = Connected(acceptor);
    ASSERT_TRUE(pair);
    pairs.push_back(std::move(*pair));
  }
  // Half of each stream, then SIGTERM to both proxies in the middle of the flood.
  std::atomic<std::size_t> complete{0};
  std::atomic<int> begun{0};
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < kStreams; ++i) {
    threads.emplace_back([&, i] {
      ++begun;
      SendPattern(pairs[i].client, i, kBlocks);
    });
    threads.emplace_back([&, i] {
      if (ReceivePattern(pairs[i].server, i) == kBlocks) ++complete;
      pairs[i].server.Close();
    });
  }
  EXPECT_TRUE(Eventually([&] { return begun == static_cast<int>(kStreams); }));
  client_proxy_->process().Signal(SIGTERM);
  server_proxy_->process().Signal(SIGTERM);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(complete, kStreams);
  pairs.clear();
  for (ProxyProcess* proxy : {client_proxy_.get(), server_proxy_.get()}) {
    const CommandResult result = proxy->process().Wait(kPatience);
    EXPECT_FALSE(result.timed_out) << "it leaves early when nothing is left";
    EXPECT_EQ(result.exit_status, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr("drained"));
    EXPECT_EQ(std::ranges::count(result.out, '\n'), static_cast<std::ptrdiff_t>(kStreams))
        << "the log is complete";
  }
}

// New connections keep coming while the server's proxy is told to end: each is either served or
// refused, none is taken and then lost.
TEST_P(LoadTest, ClosesItsListenersWithoutLosingAConnection) {
  StartServerProxy({"--drain-duration=20s"});
  Acceptor acceptor(server(), GetParam());
  std::atomic<bool> stop{false};
  std::atomic<int> served{0};
  std::atomic<int> refused{0};
  std::atomic<int> lost{0};
  std::thread answering([&] {
    const int flags = ::fcntl(acceptor.fd(), F_GETFL);
    ::fcntl(acceptor.fd(), F_SETFL, flags | O_NONBLOCK);
    while (!stop) {
      pollfd wait{.fd = acceptor.fd(), .events = POLLIN, .revents = 0};
      if (::poll(&wait, 1, 20) <= 0) continue;
      if (auto peer = acceptor.Accept()) {
        const std::string question = peer->Receive(4);
        if (!question.empty()) peer->Send(question);
      }
    }
  });
  // From outside the client pod's capture: straight from the node.
  std::vector<std::thread> asking;
  for (int i = 0; i < 8; ++i) {
    asking.emplace_back([&] {
      while (refused == 0 && !stop) {
        auto peer = Peer::Connect(cluster_->node(), ServerAt(acceptor.port()));
        if (!peer) {
          ++refused;
        } else if (peer->Send("ping") && peer->Receive(4) == "ping") {
          ++served;
        } else {
          ++lost;
        }
      }
    });
  }
  EXPECT_TRUE(Eventually([&] { return served > 200; }));
  server_proxy_->process().Signal(SIGTERM);
  const CommandResult result = server_proxy_->process().Wait(kPatience);
  for (std::thread& thread : asking) thread.join();
  stop = true;
  answering.join();
  EXPECT_EQ(result.exit_status, 0) << result.err;
  EXPECT_EQ(lost, 0) << "of " << served;
  EXPECT_GT(refused, 0);
}

// A second proxy takes the ports over while connections come in: each of them is served.
TEST_P(LoadTest, HandsItsPortsOverWithoutRefusingAConnection) {
  StartServerProxy({"--drain-duration=20s"});
  Acceptor acceptor(server(), GetParam());
  std::atomic<bool> stop{false};
  std::atomic<bool> stop_asking{false};
  std::atomic<int> served{0};
  std::atomic<int> failed{0};
  std::thread answering([&] {
    const int flags = ::fcntl(acceptor.fd(), F_GETFL);
    ::fcntl(acceptor.fd(), F_SETFL, flags | O_NONBLOCK);
    while (!stop) {
      pollfd wait{.fd = acceptor.fd(), .events = POLLIN, .revents = 0};
      if (::poll(&wait, 1, 20) <= 0) continue;
      if (auto peer = acceptor.Accept()) {
        const std::string question = peer->Receive(4);
        if (!question.empty()) peer->Send(question);
      }
    }
  });
  std::vector<std::thread> asking;
  for (int i = 0; i < 8; ++i) {
    asking.emplace_back([&] {
      while (!stop_asking) {
        auto peer = Peer::Connect(cluster_->node(), ServerAt(acceptor.port()));
        const bool good = peer && peer->Send("ping") && peer->Receive(4) == "ping";
        ++(good ? served : failed);
      }
    });
  }
  EXPECT_TRUE(Eventually([&] { return served > 200; }));
  ProxyProcess next(server(), {"--hand-over"});
  EXPECT_TRUE(next.process().WaitForText("inbound on", kPatience)) << next.process().Err();
  server_proxy_->process().Signal(SIGTERM);
  const CommandResult result = server_proxy_->process().Wait(kPatience);
  EXPECT_EQ(result.exit_status, 0) << result.err;
  const int before = served;
  EXPECT_TRUE(Eventually([&] { return served > before + 200; }));
  stop_asking = true;
  for (std::thread& thread : asking) thread.join();
  stop = true;
  answering.join();
  EXPECT_EQ(failed, 0) << "of " << served;
  EXPECT_GE(next.Log().size(), 200U);
}

TEST_P(LoadTest, DrainingIsNotReadyAndTheApplicationMayStillConnect) {
  StartProxies({"--drain-duration=60s"});
  Acceptor acceptor(server(), GetParam());
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  client_proxy_->process().Signal(SIGTERM);
  EXPECT_TRUE(Eventually([&] { return client_proxy_->Get(15020, "/healthz/ready").first == 503; }));
  EXPECT_TRUE(Eventually([&] {  // no inbound connections any more
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

TEST_P(LoadTest, ResetsWhatIsLeftAtTheDeadline) {
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

TEST_P(LoadTest, ASecondSignalEndsAtOnce) {
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

// A directory that goes with the test.
class Directory {
 public:
  Directory() {
    std::string name = "/tmp/sluice-proxy-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make a directory");
    path_ = name;
    std::filesystem::permissions(path_, std::filesystem::perms::all);
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

std::size_t Lines(const std::filesystem::path& path) {
  std::ifstream file(path);
  return static_cast<std::size_t>(
      std::count(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>(), '\n'));
}

class LogFileTest : public LoadTest {
 protected:
  void MakeConnections(Acceptor& acceptor, int count) {
    for (int i = 0; i < count; ++i) {
      auto pair = Connected(acceptor);
      ASSERT_TRUE(pair);
      pair->client.Close();
      EXPECT_EQ(pair->server.WaitForEnd(), End::kFin);
    }
  }
};

INSTANTIATE_TEST_SUITE_P(, LogFileTest, testing::Values(Family::kIpv4), FamilyName);

TEST_P(LogFileTest, IsOpenedAgainAfterRotation) {
  const Directory directory;
  StartClientProxy({"--access-log", directory / "log"});
  StartServerProxy({});
  Acceptor acceptor(server(), GetParam());
  MakeConnections(acceptor, 3);
  EXPECT_TRUE(Eventually([&] { return Lines(directory / "log") == 3; }));
  std::filesystem::rename(directory / "log", directory / "log.1");
  client_proxy_->process().Signal(SIGHUP);
  EXPECT_TRUE(Eventually([&] { return std::filesystem::exists(directory / "log"); }));
  MakeConnections(acceptor, 2);
  EXPECT_TRUE(Eventually([&] { return Lines(directory / "log") == 2; }));
  EXPECT_EQ(Lines(directory / "log.1"), 3U);
}

// Nobody reads the pipe: lines are dropped and counted, connections go on, and the end is in time.
TEST_P(LogFileTest, AStoppedReaderHoldsUpNothing) {
  const Directory directory;
  const std::filesystem::path path = directory / "pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0666), 0);
  ::chmod(path.c_str(), 0666);
  const UniqueFd reader(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  StartClientProxy({"--access-log", path, "--concurrency=1", "--drain-duration=1s"});
  StartServerProxy({"--access-log=off"});
  Acceptor acceptor(server(), GetParam());
  // The pipe takes 64 KiB and the batch a mebibyte, at 600 bytes a line.
  MakeConnections(acceptor, 3000);
  EXPECT_TRUE(
      Eventually([&] { return client_proxy_->Metric("sluice_access_log_dropped_total") > 0; }));
  client_proxy_->process().Signal(SIGTERM);
  EXPECT_EQ(client_proxy_->process().Wait(kPatience).exit_status, 0);
}

}  // namespace
}  // namespace sluice::testing_support
