// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "test/support/connection.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <map>
#include <thread>

#include "base/error.h"
#include "base/unique_fd.h"

namespace sluice::testing_support {
namespace {

int SocketType(Transport transport) {
  return transport == Transport::kTcp ? SOCK_STREAM : SOCK_DGRAM;
}

int AddressFamily(Family family) { return family == Family::kIpv4 ? AF_INET : AF_INET6; }

std::string Landing(int saved_errno) {
  switch (saved_errno) {
    case ECONNREFUSED:
      return "refused";
    case ECONNRESET:
      return "reset";
    case EAGAIN:       // the receive timeout
    case EINPROGRESS:  // the connect timeout, which is the send timeout (socket(7))
    case ETIMEDOUT:
      return "timeout";
    default:
      return "error:" + std::to_string(saved_errno);
  }
}

bool BindTo(int fd, const SocketAddress& address) {
  sockaddr_storage raw;
  const socklen_t length = ToSockaddr(address, raw);
  return bind(fd, reinterpret_cast<const sockaddr*>(&raw), length) == 0;
}

std::string ConnectHere(const SocketAddress& to, const ConnectOptions& options) {
  const UniqueFd fd(
      socket(AddressFamily(to.ip.family()), SocketType(options.transport) | SOCK_CLOEXEC, 0));
  if (!fd) return Landing(errno);
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(options.timeout);
  const timeval limit = {.tv_sec = seconds.count(),
                         .tv_usec = std::chrono::microseconds(options.timeout - seconds).count()};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  if (options.source && !BindTo(fd.get(), {*options.source, 0})) return Landing(errno);

  sockaddr_storage raw;
  const socklen_t length = ToSockaddr(to, raw);
  const auto* address = reinterpret_cast<const sockaddr*>(&raw);
  std::array<char, 256> text;
  ssize_t received = 0;
  if (options.transport == Transport::kUdp) {
    // Not connected, like a resolver's socket: an answer from another address would mean that
    // address translation failed, and only a connected socket would drop it.
    if (sendto(fd.get(), "q", 1, 0, address, length) < 0) return Landing(errno);
    received = recv(fd.get(), text.data(), text.size(), 0);
  } else {
    if (connect(fd.get(), address, length) != 0) return Landing(errno);
    received = recv(fd.get(), text.data(), text.size(), 0);
  }
  if (received < 0) return Landing(errno);
  return received == 0 ? "closed" : std::string(text.data(), static_cast<std::size_t>(received));
}

}  // namespace

std::string Connect(const netns::Namespace& from, const SocketAddress& to,
                    const ConnectOptions& options) {
  return CallIn(from, options.who, [&] { return ConnectHere(to, options); });
}

class Listeners::Impl {
 public:
  Impl(const netns::Namespace& where, const std::vector<NamedPort>& ports);
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl();

 private:
  struct Listener {
    UniqueFd fd;
    NamedPort port;
  };

  void Open(Family family, const NamedPort& port);
  void Serve();
  static void Answer(const Listener& listener);

  std::vector<Listener> listeners_;
  UniqueFd stop_{eventfd(0, EFD_CLOEXEC)};
  std::thread thread_;
};

Listeners::Impl::Impl(const netns::Namespace& where, const std::vector<NamedPort>& ports) {
  RunIn(where, kRoot, [&] {
    // AF_INET6 also exists in a namespace without IPv6 addresses.
    for (const Family family : {Family::kIpv4, Family::kIpv6}) {
      for (const NamedPort& port : ports) Open(family, port);
    }
  });
  thread_ = std::thread([this] { Serve(); });
}

Listeners::Impl::~Impl() {
  const std::uint64_t one = 1;
  if (write(stop_.get(), &one, sizeof(one)) != sizeof(one)) std::terminate();
  thread_.join();
}

void Listeners::Impl::Open(Family family, const NamedPort& port) {
  const int v6 = family == Family::kIpv6;
  const SocketAddress any = {v6 != 0 ? IpAddress::Parse("::") : IpAddress(), port.port};
  const int on = 1;
  UniqueFd fd(
      socket(AddressFamily(family), SocketType(port.transport) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  // The kernel has no IPv6 at all.
  if (!fd && v6 != 0 && errno == EAFNOSUPPORT) return;
  bool ok = fd && setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0;
  if (v6 != 0) {
    ok = ok && setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0;
  }
  if (port.transparent) {
    ok = ok && setsockopt(fd.get(), v6 != 0 ? IPPROTO_IPV6 : IPPROTO_IP,
                          v6 != 0 ? IPV6_TRANSPARENT : IP_TRANSPARENT, &on, sizeof(on)) == 0;
  }
  ok = ok && BindTo(fd.get(), any);
  if (port.transport == Transport::kTcp) ok = ok && listen(fd.get(), SOMAXCONN) == 0;
  if (!ok) throw SystemError(errno, "listen", any.ToString());
  listeners_.push_back({.fd = std::move(fd), .port = port});
}

void Listeners::Impl::Serve() {
  std::vector<pollfd> waiting = {{.fd = stop_.get(), .events = POLLIN, .revents = 0}};
  for (const Listener& listener : listeners_) {
    waiting.push_back({.fd = listener.fd.get(), .events = POLLIN, .revents = 0});
  }
  while (poll(waiting.data(), waiting.size(), -1) >= 0 || errno == EINTR) {
    if (waiting[0].revents != 0) return;
    for (std::size_t i = 1; i < waiting.size(); ++i) {
      if (waiting[i].revents != 0) Answer(listeners_[i - 1]);
    }
  }
}

void Listeners::Impl::Answer(const Listener& listener) {
  const std::string& text = listener.port.answer;
  if (listener.port.transport == Transport::kTcp) {
    const UniqueFd peer(accept4(listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
    // The client may be gone already.
    if (peer) static_cast<void>(send(peer.get(), text.data(), text.size(), MSG_NOSIGNAL));
    return;
  }
  std::array<char, 512> question;
  sockaddr_storage from;
  socklen_t length = sizeof(from);
  auto* const address = reinterpret_cast<sockaddr*>(&from);
  if (recvfrom(listener.fd.get(), question.data(), question.size(), 0, address, &length) >= 0) {
    sendto(listener.fd.get(), text.data(), text.size(), 0, address, length);
  }
}

Listeners::Listeners(const netns::Namespace& where, const std::vector<NamedPort>& ports)
    : impl_(std::make_unique<Impl>(where, ports)) {}

Listeners::Listeners(Listeners&&) noexcept = default;
Listeners::~Listeners() = default;

}  // namespace sluice::testing_support
