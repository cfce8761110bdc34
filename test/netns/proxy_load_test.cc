// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// High load: nothing may be lost, and slow readers must not delay others.

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "netns/sysctl.h"
#include "test/netns/proxy_fixture.h"
#include "test/netns/streams.h"

namespace sluice::testing_support {
namespace {

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
  constexpr std::uint64_t kBytes = 1UL << 30;
  const Pattern request(1);
  const Pattern response(2);
  std::thread up([&] { SendPattern(pair->client, request, kBytes); });
  std::thread down([&] { SendPattern(pair->server, response, kBytes); });
  std::uint64_t received_by_server = 0;
  std::thread sink([&] { received_by_server = ReceivePattern(pair->server, request); });
  EXPECT_EQ(ReceivePattern(pair->client, response), kBytes);
  sink.join();
  up.join();
  down.join();
  EXPECT_EQ(received_by_server, kBytes);
  const auto line = client_proxy_->LogLineTo(ServerAt(acceptor.port()));
  EXPECT_EQ(line.at("bytes_received"), kBytes);
  EXPECT_EQ(line.at("bytes_sent"), kBytes);
}

// Opens `count` connections, uses each and closes them: nothing is lost.
void ManyTest::UseAtOnce(std::size_t count) {
  RaiseDescriptorLimit();
  // The clients and their proxy share source ports: two to the same destination for each
  // connection. When nearly half of them are in use, connect(2) looks through thousands for a free
  // one.
  RunIn(client(), kRoot, [] { netns::WriteSysctl("ipv4/ip_local_port_range", "16000 65000"); });
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
  // All requests, each with its own number, are sent before any is answered.
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
    EXPECT_TRUE(Eventually([&] { return proxy->LogLines() == count; }));
  }
  // The scrape's own descriptor, and one that is being closed.
  EXPECT_LE(client_proxy_->OpenDescriptors(), descriptors + 4) << "none is left open";
}

TEST_P(ManyTest, TwoThousandConnectionsAtOnce) { UseAtOnce(2000); }

// About as many as a limit of 20,000 descriptors allows one client, for the proxies and for this
// process, which has both ends of each connection.
TEST_P(ManyTest, NineThousandConnectionsAtOnce) {
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  if (limit.rlim_max < 20'000) GTEST_SKIP() << "the descriptor limit is " << limit.rlim_max;
  UseAtOnce(9000);
}

// A directory that the destructor removes.
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

// Nobody reads the pipe: lines are dropped and counted, connections continue, and it ends in time.
TEST_P(LogFileTest, AStoppedReaderHoldsUpNothing) {
  const Directory directory;
  const std::filesystem::path path = directory / "pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0666), 0);
  ::chmod(path.c_str(), 0666);
  const UniqueFd reader(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  StartClientProxy({"--access-log", path, "--concurrency=1", "--drain-duration=1s"});
  StartServerProxy({"--access-log=off"});
  Acceptor acceptor(server(), GetParam());
  // The pipe holds 64 KiB and the batch a mebibyte, at 600 bytes per line.
  MakeConnections(acceptor, 3000);
  EXPECT_TRUE(
      Eventually([&] { return client_proxy_->Metric("sluice_access_log_dropped_total") > 0; }));
  client_proxy_->process().Signal(SIGTERM);
  EXPECT_EQ(client_proxy_->process().Wait(kPatience).exit_status, 0);
}

}  // namespace
}  // namespace sluice::testing_support
