// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// What is only visible with special sockets: preserved addresses, and conntrack zones.

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/socket_address.h"
#include "base/unique_fd.h"
#include "test/support/capture_cases.h"
#include "test/support/connection.h"
#include "test/support/init_program.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {
namespace {

class InitSockets : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
  }
  void Apply(const std::string& name) {
    const auto result = RunCase(network_.pod(), FindCase(name));
    ASSERT_EQ(result.exit_status, 0) << result.err;
  }
  PodNetwork network_;
};

// A socket in `where` bound to `address`, with a limit on every wait.
UniqueFd Bound(const netns::Namespace& where, const SocketAddress& address, int type,
               const Credentials& who = kRoot, bool transparent = false) {
  UniqueFd fd;
  RunIn(where, who, [&] {
    const bool v6 = address.ip.family() == Family::kIpv6;
    fd.reset(socket(v6 ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, 0));
    const int on = 1;
    const timeval limit = {.tv_sec = 2, .tv_usec = 0};
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (transparent) {
      setsockopt(fd.get(), v6 ? SOL_IPV6 : SOL_IP, v6 ? IPV6_TRANSPARENT : IP_TRANSPARENT, &on,
                 sizeof(on));
    }
    sockaddr_storage raw;
    const socklen_t size = ToSockaddr(address, raw);
    if (bind(fd.get(), reinterpret_cast<sockaddr*>(&raw), size) != 0) {
      throw SystemError(errno, "bind", address.ToString());
    }
  });
  return fd;
}

SocketAddress NameOf(int fd, int (*get)(int, sockaddr*, socklen_t*)) {
  sockaddr_storage raw{};
  socklen_t size = sizeof(raw);
  get(fd, reinterpret_cast<sockaddr*>(&raw), &size);
  return FromSockaddr(raw);
}

SocketAddress At(const char* ip, std::uint16_t port) { return {IpAddress::Parse(ip), port}; }

// The reason for TPROXY: the proxy sees both client and destination on the socket itself.
TEST_F(InitSockets, TproxyKeepsTheClientsAddress) {
  Apply("tproxy-dual");
  struct {
    const char* any;
    const char* client;
    const char* pod;
  } const families[] = {{"0.0.0.0", "198.51.100.1", "192.0.2.2"},
                        {"::", "2001:db8::1", "fd00:2::2"}};
  for (const auto& family : families) {
    const UniqueFd proxy = Bound(network_.pod(), At(family.any, 15006), SOCK_STREAM, kRoot, true);
    ASSERT_EQ(listen(proxy.get(), 1), 0);
    const UniqueFd client = Bound(network_.outside(), At(family.client, 40'000), SOCK_STREAM);
    sockaddr_storage raw;
    const socklen_t size = ToSockaddr(At(family.pod, 8080), raw);
    ASSERT_EQ(connect(client.get(), reinterpret_cast<sockaddr*>(&raw), size), 0) << family.pod;
    const UniqueFd accepted(accept(proxy.get(), nullptr, nullptr));
    ASSERT_TRUE(accepted);
    EXPECT_EQ(NameOf(accepted.get(), getpeername), At(family.client, 40'000));
    EXPECT_EQ(NameOf(accepted.get(), getsockname), At(family.pod, 8080));
  }
}

// Sends one query from `port`, and returns who answered it.
std::string Ask(const netns::Namespace& from, const char* source, std::uint16_t port,
                const SocketAddress& server, const Credentials& who) {
  const UniqueFd fd = Bound(from, At(source, port), SOCK_DGRAM, who);
  sockaddr_storage raw;
  const socklen_t size = ToSockaddr(server, raw);
  if (sendto(fd.get(), "q", 1, 0, reinterpret_cast<sockaddr*>(&raw), size) != 1) return "not sent";
  std::array<char, 64> text;
  const ssize_t got = recv(fd.get(), text.data(), text.size(), 0);
  return got < 0 ? "no answer" : std::string(text.data(), static_cast<std::size_t>(got));
}

// Why there are conntrack zones: the agent's query may have the port that a query of the
// application just had, and conntrack would confuse them.
TEST_F(InitSockets, QueriesFromTheSamePortDoNotMix) {
  const Listeners world(network_.outside(), {{.port = 53, .transport = Transport::kUdp}});
  const Listeners agent(network_.pod(),
                        {{.port = 15053, .answer = "agent", .transport = Transport::kUdp}});
  Apply("dns-all-v6");
  struct {
    const char* source;
    SocketAddress server;
  } const families[] = {{"192.0.2.2", At("198.51.100.1", 53)},
                        {"fd00:2::2", At("2001:db8::1", 53)}};
  for (const auto& [source, server] : families) {
    for (const std::uint16_t port : {std::uint16_t{40'001}, std::uint16_t{40'002}}) {
      EXPECT_EQ(Ask(network_.pod(), source, port, server, kApplication), "agent") << server;
      EXPECT_EQ(Ask(network_.pod(), source, port, server, kProxy), "direct") << server;
      EXPECT_EQ(Ask(network_.pod(), source, port, server, kApplication), "agent") << server;
    }
  }
}

}  // namespace
}  // namespace sluice::testing_support
