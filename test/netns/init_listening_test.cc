// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// --capture-listening: a port on which nobody listens refuses, and what listens is captured.

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <thread>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/socket_address.h"
#include "base/unique_fd.h"
#include "test/support/capture_cases.h"
#include "test/support/connection.h"
#include "test/support/init_program.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {
namespace {

using testing::HasSubstr;

constexpr const char* kPodV4 = "192.0.2.2";
constexpr const char* kPodV6 = "fd00:2::2";
constexpr const char* kCaptured = "in15006";
constexpr const char* kRefusal = "refused";

enum class Mapped : bool { kNo, kYes };

class InitListening : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
    const auto result = RunCase(network_.pod(), FindCase("capture-listening"));
    ASSERT_EQ(result.exit_status, 0) << result.err;
  }

  std::string From(const netns::Namespace& where, const char* to, std::uint16_t port,
                   const Credentials& who = kApplication) const {
    return Connect(where, {IpAddress::Parse(to), port}, {.who = who});
  }
  std::string FromOutside(const char* to, std::uint16_t port) const {
    return From(network_.outside(), to, port);
  }

  // A listener of the pod at one address, which nobody accepts from.
  UniqueFd ListenAt(const char* address, std::uint16_t port, Mapped mapped = Mapped::kNo) const {
    return CallIn(network_.pod(), kRoot, [&] {
      const SocketAddress at = {IpAddress::Parse(address), port};
      sockaddr_storage raw;
      const socklen_t length = ToSockaddr(at, raw);
      UniqueFd fd(socket(raw.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      const int on = 1;
      const int only_v6 = mapped == Mapped::kYes ? 0 : 1;
      EXPECT_EQ(setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
      if (!at.ip.is_v4()) {
        EXPECT_EQ(setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only_v6, sizeof(only_v6)), 0);
      }
      EXPECT_EQ(bind(fd.get(), reinterpret_cast<const sockaddr*>(&raw), length), 0) << at;
      EXPECT_EQ(listen(fd.get(), 64), 0) << at;
      return fd;
    });
  }

  PodNetwork network_;
  Listeners proxy_{network_.pod(),
                   {{.port = 15001, .answer = "out15001"}, {.port = 15006, .answer = kCaptured}}};
};

TEST_F(InitListening, AnOpenPortIsCapturedAndAClosedOneRefuses) {
  for (const char* const pod : {kPodV4, kPodV6}) {
    EXPECT_EQ(FromOutside(pod, 8080), kRefusal) << pod;
    {
      const Listeners application(network_.pod(), {{.port = 8080}});
      EXPECT_EQ(FromOutside(pod, 8080), kCaptured) << pod << ": it opened";
    }
    EXPECT_EQ(FromOutside(pod, 8080), kRefusal) << pod << ": it closed";
  }
}

TEST_F(InitListening, ExcludedPortsAndCallsFromInsideAreAsEver) {
  const Listeners application(network_.pod(), {{.port = 15020}});
  for (const char* const pod : {kPodV4, kPodV6}) {
    EXPECT_EQ(FromOutside(pod, 15020), "direct") << pod;
    EXPECT_EQ(FromOutside(pod, 15090), kRefusal) << pod << ": excluded, and nobody is there";
    EXPECT_EQ(From(network_.pod(), pod, 8080, kProxy), kCaptured)
        << pod << ": the proxy's call of its own pod";
  }
}

TEST_F(InitListening, AListListensForItsOwnPorts) {
  const auto result = RunCase(network_.pod(), FindCase("capture-listening-list"));  // 80,8080
  ASSERT_EQ(result.exit_status, 0) << result.err;
  const Listeners application(network_.pod(), {{.port = 80}, {.port = 81}});
  for (const char* const pod : {kPodV4, kPodV6}) {
    EXPECT_EQ(FromOutside(pod, 80), kCaptured) << pod;
    EXPECT_EQ(FromOutside(pod, 8080), kRefusal) << pod;
    EXPECT_EQ(FromOutside(pod, 81), "direct") << pod << ": not in the list";
  }
}

// What the kernel would deliver counts, and nothing else.
TEST_F(InitListening, ListenersOfAllKindsOfAddresses) {
  struct Kind {
    const char* address;
    Mapped mapped;
    const char* v4;
    const char* v6;
  };
  for (const Kind& kind : {Kind{"0.0.0.0", Mapped::kNo, kCaptured, kRefusal},
                           Kind{"::", Mapped::kNo, kRefusal, kCaptured},
                           Kind{"::", Mapped::kYes, kCaptured, kCaptured},
                           Kind{kPodV4, Mapped::kNo, kCaptured, kRefusal},
                           Kind{kPodV6, Mapped::kNo, kRefusal, kCaptured},
                           Kind{"192.0.3.2", Mapped::kNo, kRefusal, kRefusal},
                           Kind{"127.0.0.1", Mapped::kNo, kRefusal, kRefusal},
                           Kind{"::1", Mapped::kNo, kRefusal, kRefusal}}) {
    const UniqueFd listener = ListenAt(kind.address, 8080, kind.mapped);
    EXPECT_EQ(FromOutside(kPodV4, 8080), kind.v4) << kind.address;
    EXPECT_EQ(FromOutside(kPodV6, 8080), kind.v6) << kind.address;
  }
}

// Whoever listens on the port that refused connections are sent to would get them.
TEST_F(InitListening, NobodyCanListenWhereRefusedConnectionsGo) {
  const auto rules = RulesOf(network_.pod(), Family::kIpv4);
  EXPECT_THAT(rules, HasSubstr(TestsNftables() ? "redirect to :0" : "REDIRECT --to-ports 0"));
  // Port 0 asks for any free one.
  const UniqueFd listener = ListenAt(kPodV4, 0);
  EXPECT_EQ(FromOutside(kPodV4, 8080), kRefusal);
  EXPECT_EQ(FromOutside(kPodV4, 1), kRefusal);
  EXPECT_EQ(FromOutside(kPodV4, 65535), kRefusal);
}

// A port that opens and closes all the time, between the decision and the delivery, too: each
// connection comes to the proxy or is refused, and none to the application.
TEST_F(InitListening, NoConnectionGetsPastTheProxyWhileThePortOpensAndCloses) {
  constexpr int kConnections = 4000;  // of each family
  std::atomic<bool> stop{false};
  std::atomic<int> stolen{0};
  std::atomic<int> opened{0};
  std::thread application([&] {
    while (!stop) {
      for (const char* const address : {kPodV4, kPodV6}) {
        const UniqueFd listener = ListenAt(address, 8080);
        ++opened;
        while (UniqueFd{accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)}) ++stolen;
      }
    }
  });
  int captured = 0;
  int refused = 0;
  for (const char* const pod : {kPodV4, kPodV6}) {
    RunIn(network_.outside(), kApplication, [&] {
      const SocketAddress to = {IpAddress::Parse(pod), 8080};
      sockaddr_storage raw;
      const socklen_t length = ToSockaddr(to, raw);
      for (int i = 0; i < kConnections; ++i) {
        const UniqueFd client(socket(raw.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
        // Past the proxy, a connection may end up with a listener that is gone, and hang.
        const timeval limit = {.tv_sec = 10, .tv_usec = 0};
        setsockopt(client.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        if (connect(client.get(), reinterpret_cast<const sockaddr*>(&raw), length) != 0) {
          ASSERT_EQ(errno, ECONNREFUSED);
          ++refused;
          continue;
        }
        // The application says nothing, and resets whoever got there when it closes.
        std::array<char, 16> text{};
        const ssize_t size = recv(client.get(), text.data(), text.size(), 0);
        ASSERT_GT(size, 0) << "connection " << i << " got past the proxy";
        ASSERT_EQ(std::string_view(text.data(), static_cast<std::size_t>(size)), kCaptured);
        ++captured;
      }
    });
  }
  stop = true;
  application.join();
  EXPECT_EQ(stolen, 0) << "of " << captured + refused;
  EXPECT_GT(captured, 0);
  EXPECT_GT(refused, 0);
  std::printf("FIGURE listening: %d captured, %d refused, while a port opened %d times\n", captured,
              refused, opened.load());
}

// --- what the other commands know of it ---

boost::json::object ExplainJson(const netns::Namespace& pod, std::vector<std::string> more) {
  std::vector<std::string> words = {"explain", "--output", "json", "--from", "198.51.100.1"};
  words.insert(words.end(), more.begin(), more.end());
  const auto result = RunInit(pod, words);
  EXPECT_EQ(result.exit_status, 0) << result.err;
  return boost::json::parse(result.out).as_object();
}

TEST_F(InitListening, ExplainAsksTheKernelWhoListens) {
  const UniqueFd mapped = ListenAt("::", 80, Mapped::kYes);
  const UniqueFd loopback = ListenAt("127.0.0.1", 8080);
  for (const bool v4 : {true, false}) {
    const std::string pod = v4 ? kPodV4 : "[" + std::string(kPodV6) + "]";
    const std::string from = v4 ? "192.0.2.1" : "fd00:2::1";
    const auto explain = [&](const char* port) {
      return ExplainJson(network_.pod(), {"--to", pod + ":" + port, "--from", from});
    };
    const auto open = explain("80");
    EXPECT_EQ(open.at("landing"), "inbound") << open;
    EXPECT_EQ(open.at("port"), 15006);
    const auto closed = explain("8080");
    EXPECT_EQ(closed.at("landing"), "refused") << closed;
    EXPECT_EQ(closed.at("decided_by").at("flag"), "--capture-listening=true");
    EXPECT_EQ(FromOutside(v4 ? kPodV4 : kPodV6, 80), kCaptured);
    EXPECT_EQ(FromOutside(v4 ? kPodV4 : kPodV6, 8080), kRefusal);
  }
}

// The same match in a foreign rule, of x_tables with either backend of ours.
TEST_F(InitListening, ExplainAsksForForeignRulesToo) {
  const UniqueFd listener = ListenAt(kPodV4, 80);
  Iptables(network_.pod(), Family::kIpv4,
           "-t mangle -A PREROUTING -p tcp -m socket --nowildcard -j DROP");
  const auto explain = [&](const char* port) {
    return ExplainJson(network_.pod(),
                       {"--to", std::string(kPodV4) + ":" + port, "--from", "192.0.2.1"});
  };
  const auto open = explain("80");
  EXPECT_EQ(open.at("landing"), "dropped") << open;
  EXPECT_EQ(open.at("decided_by").at("text"), "-p tcp -m socket --nowildcard -j DROP");
  EXPECT_EQ(explain("8080").at("landing"), "refused");
}

TEST_F(InitListening, ExplainOfAPlanKnowsNoListeners) {
  const auto planned = ExplainJson(
      network_.pod(), {"--planned", "-b", "*", "--capture-listening", "--to", "192.0.2.2:80"});
  EXPECT_EQ(planned.at("landing"), "unknown");
  const std::string notes = boost::json::serialize(planned.at("notes"));
  EXPECT_THAT(notes, HasSubstr("it may be: inbound, port 15006"));
  EXPECT_THAT(notes, HasSubstr("it may be: refused"));
}

}  // namespace
}  // namespace sluice::testing_support
