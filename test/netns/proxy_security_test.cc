// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// What a compromised proxy could do, and from where a proxy can be reached.

#include <linux/capability.h>
#include <netinet/in.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/netns/proxy_fixture.h"

namespace sluice::testing_support {
namespace {

using testing::ElementsAre;

// "CapEff" and so on of proc(5), for all threads; equal values are listed once.
std::map<std::string, std::set<std::string>> StatusOf(pid_t pid) {
  std::map<std::string, std::set<std::string>> out;
  for (const auto& task :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
    std::ifstream file(task.path() / "status");
    for (std::string line; std::getline(file, line);) {
      std::istringstream words(line);
      std::string name;
      std::string value;
      words >> name >> value;
      name.resize(name.find(':'));
      out[name].insert(value);
    }
  }
  return out;
}

constexpr const char* kNone = "0000000000000000";
constexpr const char* kNetAdmin = "0000000000001000";  // 1 << CAP_NET_ADMIN

class SecurityTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
    network_ = std::make_unique<PodNetwork>();
  }
  // The state of every thread of a running proxy.
  std::map<std::string, std::set<std::string>> Running(
      const std::vector<std::string>& flags, const Credentials& who,
      const std::optional<std::vector<int>>& capabilities = std::nullopt) {
    proxy_ = std::make_unique<ProxyProcess>(network_->pod(), flags,
                                            ProxySetting{.who = who, .capabilities = capabilities});
    // A thread that existed before answers the first request; the filter comes
    // last.
    EXPECT_TRUE(proxy_->process().WaitForText("outbound on", kPatience)) << proxy_->process().Err();
    return StatusOf(proxy_->process().pid());
  }
  static void ExpectLocked(std::map<std::string, std::set<std::string>>& status,
                           const char* capabilities) {
    EXPECT_THAT(status["CapEff"], ElementsAre(capabilities));
    EXPECT_THAT(status["CapPrm"], ElementsAre(capabilities));
    EXPECT_THAT(status["CapInh"], ElementsAre(kNone));
    EXPECT_THAT(status["CapAmb"], ElementsAre(kNone));
    EXPECT_THAT(status["NoNewPrivs"], ElementsAre("1"));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    EXPECT_THAT(status["Seccomp"], ElementsAre("2")) << "SECCOMP_MODE_FILTER";
#endif
  }

  std::unique_ptr<PodNetwork> network_;
  std::unique_ptr<ProxyProcess> proxy_;
};

TEST_F(SecurityTest, HasNoCapability) {
  auto status = Running({"--dns-port=15053"}, kProxy);
  ExpectLocked(status, kNone);
}

TEST_F(SecurityTest, GivesUpRootsCapabilities) {
  // A port for which it needs a capability until it is bound.
  auto status = Running({"--allow-root", "--metrics-port=90"}, kRoot);
  ExpectLocked(status, kNone);
  EXPECT_THAT(status["CapBnd"], ElementsAre(kNone));
  EXPECT_EQ(proxy_->Get(90, "/stats/prometheus").first, 200);
}

TEST_F(SecurityTest, KeepsWhatTproxyNeeds) {
  auto status = Running({"--mode=TPROXY"}, kProxy,
                        std::vector<int>{CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN});
  ExpectLocked(status, kNetAdmin);
}

TEST_F(SecurityTest, KeepsOfRootsCapabilitiesWhatTproxyNeeds) {
  auto status = Running({"--allow-root", "--mode=TPROXY"}, kRoot);
  ExpectLocked(status, kNetAdmin);
  EXPECT_THAT(status["CapBnd"], ElementsAre(kNone));
}

// With many threads the C library makes other system calls: to limit its heaps it counts the CPUs,
// in one of three ways. The filter must allow the last one.
TEST_F(SecurityTest, ManyThreadsLiveUnderTheFilter) {
  proxy_ = std::make_unique<ProxyProcess>(
      network_->pod(), WithMounts(ProxyCommand({"--concurrency=24", "--access-log=off"}),
                                  "mount -t tmpfs none /sys; mount --bind /dev/null /proc/stat"));
  ASSERT_TRUE(proxy_->WaitReady()) << proxy_->process().Err();
  const CommandResult init =
      RunCommand(network_->pod(), {.argv = {ProgramPath("sluice-init"), "-u", "1337", "-i", "*",
                                            "-b", "*", "-d", "15020,15090"}});
  ASSERT_EQ(init.exit_status, 0) << init.err;
  Acceptor acceptor(network_->outside(), Family::kIpv4);
  const SocketAddress server{IpAddress::Parse("198.51.100.1"), acceptor.port()};
  // Enough that each worker has some.
  for (int i = 0; i < 240; ++i) {
    auto client = Peer::Connect(network_->pod(), server);
    ASSERT_TRUE(client);
    auto far = acceptor.Accept();
    ASSERT_TRUE(far) << proxy_->process().Err();
    ASSERT_TRUE(client->Send("hello"));
    ASSERT_EQ(far->Receive(5), "hello");
  }
  EXPECT_TRUE(proxy_->process().Running()) << proxy_->process().Err();
}

// "0100007F:3A98" in /proc/net/tcp (proc(5)): words in host byte order.
SocketAddress FromProc(const std::string& text) {
  const std::size_t colon = text.find(':');
  std::string bytes;
  for (std::size_t word = 0; word + 8 <= colon; word += 8) {
    const auto value = static_cast<std::uint32_t>(std::stoul(text.substr(word, 8), nullptr, 16));
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  sockaddr_storage storage{};
  if (bytes.size() == sizeof(in_addr)) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(storage);
    v4.sin_family = AF_INET;
    bytes.copy(reinterpret_cast<char*>(&v4.sin_addr), bytes.size());
  } else {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(storage);
    v6.sin6_family = AF_INET6;
    bytes.copy(reinterpret_cast<char*>(&v6.sin6_addr), bytes.size());
  }
  SocketAddress out = FromSockaddr(storage);
  out.port = static_cast<std::uint16_t>(std::stoul(text.substr(colon + 1), nullptr, 16));
  return out;
}

// Where a process accepts connections or datagrams: "tcp 0.0.0.0:15001", each once.
std::set<std::string> ListenersOf(pid_t pid) {
  const std::string proc = "/proc/" + std::to_string(pid);
  std::set<std::string> inodes;
  for (const auto& each : std::filesystem::directory_iterator(proc + "/fd")) {
    std::error_code ended;
    const std::string link = std::filesystem::read_symlink(each.path(), ended).string();
    if (link.starts_with("socket:[")) inodes.insert(link.substr(8, link.size() - 9));
  }
  std::set<std::string> out;
  for (const std::string protocol : {"tcp", "tcp6", "udp", "udp6"}) {
    std::ifstream file(proc + "/net/" + protocol);
    std::string line;
    std::getline(file, line);  // the heading
    while (std::getline(file, line)) {
      std::istringstream words(line);
      const std::vector<std::string> fields{std::istream_iterator<std::string>(words), {}};
      const bool tcp = protocol.starts_with("tcp");
      constexpr const char* kListen = "0A";  // TCP_LISTEN
      if (!inodes.contains(fields.at(9)) || (tcp && fields.at(3) != kListen)) continue;
      out.insert((tcp ? "tcp " : "udp ") + FromProc(fields.at(1)).ToString());
    }
  }
  return out;
}

TEST_F(SecurityTest, ListensWhereItShouldAndNowhereElse) {
  Running({"--dns-port=15053"}, kProxy);
  std::set<std::string> expected;
  for (const char* const port : {"15001", "15006", "15020", "15090"}) {
    expected.insert(std::string("tcp 0.0.0.0:") + port);
    expected.insert(std::string("tcp [::]:") + port);
  }
  for (const char* const loopback :
       {"tcp 127.0.0.1:15000", "tcp [::1]:15000", "tcp 127.0.0.1:15053", "tcp [::1]:15053",
        "udp 127.0.0.1:15053", "udp [::1]:15053"}) {
    expected.insert(loopback);
  }
  EXPECT_EQ(ListenersOf(proxy_->process().pid()), expected);
}

TEST_F(SecurityTest, ListensLessWhenTold) {
  Running({"--status-port=0", "--metrics-port=0", "--admin-port=0"}, kProxy);
  EXPECT_EQ(ListenersOf(proxy_->process().pid()),
            (std::set<std::string>{"tcp 0.0.0.0:15001", "tcp [::]:15001", "tcp 0.0.0.0:15006",
                                   "tcp [::]:15006"}));
}

// Without rules, the worst case: nothing is between the network and the proxy.
TEST_F(SecurityTest, IsReachedFromOutsideWhereItShouldOnly) {
  using Ports = std::initializer_list<std::uint16_t>;
  Running({"--dns-port=15053"}, kProxy);
  for (const char* const pod : {"192.0.2.2", "fd00:2::2"}) {
    const auto reach = [&](std::uint16_t port) {
      return Peer::Connect(network_->outside(), {IpAddress::Parse(pod), port});
    };
    for (const std::uint16_t port : Ports{15020, 15090}) EXPECT_TRUE(reach(port)) << pod << port;
    for (const std::uint16_t port : Ports{15000, 15053}) EXPECT_FALSE(reach(port)) << pod << port;
    // Accepted, as captured connections arrive there, and reset, as this one is not captured.
    for (const std::uint16_t port : Ports{15001, 15006}) {
      auto peer = reach(port);
      if (peer) {
        EXPECT_EQ(peer->WaitForEnd(), End::kReset) << pod << port;
      }
    }
  }
}

}  // namespace
}  // namespace sluice::testing_support
