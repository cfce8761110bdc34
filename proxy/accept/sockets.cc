// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/accept/sockets.h"

#include <ifaddrs.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/pod_contract.h"

namespace sluice::proxy {
namespace {

// netfilter's conntrack forgets a redirected connection 60 s after the first FIN (close_wait), and
// after that the application's FIN never reaches us. Probing at half of that keeps the entry.
constexpr std::chrono::seconds kRedirectedKeepAlive{30};
// A dead peer is found after idle + 3 * 10 s: two lost probes are bad luck, three are an answer.
constexpr int kProbeIntervalSeconds = 10;
constexpr int kProbes = 3;

// What the kernel takes (somaxconn, 4096 by default, caps it): a burst waits here, not in SYN
// retransmissions.
constexpr int kBacklog = 4096;

// TCP_USER_TIMEOUT is left alone on purpose: the kernel would apply it to a peer that is alive but
// does not read (its window closed), and would count it instead of lost keep-alive probes.

int SetInt(int fd, int level, int option, int value) {
  return ::setsockopt(fd, level, option, &value, sizeof(value));
}

int SetTransparent(int fd, Family family, bool on = true) {
  return family == Family::kIpv4 ? SetInt(fd, SOL_IP, IP_TRANSPARENT, on ? 1 : 0)
                                 : SetInt(fd, SOL_IPV6, IPV6_TRANSPARENT, on ? 1 : 0);
}

int DomainOf(Family family) { return family == Family::kIpv4 ? AF_INET : AF_INET6; }

bool Missing(int error) { return error == EAFNOSUPPORT || error == EADDRNOTAVAIL; }

}  // namespace

std::optional<SocketAddress> OriginalDestination(int fd, Family family) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  const bool v4 = family == Family::kIpv4;
  if (::getsockopt(fd, v4 ? SOL_IP : SOL_IPV6, pod::kOriginalDestinationOption, &address,
                   &length) != 0) {
    return std::nullopt;
  }
  return FromSockaddr(address);
}

SocketAddress LocalAddress(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return {};
  return FromSockaddr(address);
}

int PendingError(int fd) {
  int error = 0;
  socklen_t length = sizeof(error);
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
  return error;
}

std::uint32_t UnconfirmedBytes(int fd) {
  int bytes = 0;
  return ::ioctl(fd, SIOCOUTQ, &bytes) == 0 ? static_cast<std::uint32_t>(bytes) : 0;
}

void SendAtOnce(int fd) { SetInt(fd, IPPROTO_TCP, TCP_NODELAY, 1); }

void ReadUrgentInline(int fd) { SetInt(fd, SOL_SOCKET, SO_OOBINLINE, 1); }

void KeepAlive(int fd, std::chrono::seconds idle) {
  SetInt(fd, IPPROTO_TCP, TCP_KEEPIDLE, static_cast<int>(idle.count()));
  SetInt(fd, IPPROTO_TCP, TCP_KEEPINTVL, kProbeIntervalSeconds);
  SetInt(fd, IPPROTO_TCP, TCP_KEEPCNT, kProbes);
  SetInt(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}

namespace {

// The source ports that the kernel chooses from.
std::pair<std::uint32_t, std::uint32_t> SourcePorts() {
  std::pair<std::uint32_t, std::uint32_t> range{32768, 60999};
  std::ifstream("/proc/sys/net/ipv4/ip_local_port_range") >> range.first >> range.second;
  return range;
}

// Those that it leaves, below that range or else above; zeros when these are too few.
std::pair<std::uint32_t, std::uint32_t> PortsBeside(
    const std::pair<std::uint32_t, std::uint32_t>& range) {
  // Ports below 1024 are those of privileged programs.
  constexpr std::uint32_t kFirst = 1024;
  constexpr std::uint32_t kLast = 65535;
  constexpr std::uint32_t kFewest = 4096;
  if (range.first >= kFirst + kFewest) return {kFirst, range.first - 1};
  if (range.second + kFewest <= kLast) return {range.second + 1, kLast};
  return {0, 0};
}

// Another port for each call, from all threads, that the kernel does not choose. 0: there are none.
std::uint16_t NextPortBeside() {
  static const std::pair<std::uint32_t, std::uint32_t> range = PortsBeside(SourcePorts());
  // From anywhere: a proxy that was there before has left connections in TIME_WAIT.
  static std::atomic<std::uint32_t> next{[] {
    std::uint32_t random = 0;
    // Without it, from the beginning.
    [[maybe_unused]] const ssize_t got = ::getrandom(&random, sizeof(random), GRND_NONBLOCK);
    return random;
  }()};
  if (range.first == 0) return 0;
  return static_cast<std::uint16_t>(range.first +
                                    next.fetch_add(1) % (range.second - range.first + 1));
}

// How many ports are tried. Few are in use by connections that are open.
constexpr int kPortsToTry = 64;

// Beside the kernel's range where there is room: until its TIME_WAIT is over, the kernel gives a
// port that a program has named to no other connection of the pod, whatever its addresses are.
std::uint16_t NextNamedPort() {
  static const std::pair<std::uint32_t, std::uint32_t> range = SourcePorts();
  static std::atomic<std::uint32_t> next{0};
  if (const std::uint16_t port = NextPortBeside(); port != 0) return port;
  const std::uint32_t count = range.second >= range.first ? range.second - range.first + 1 : 1;
  return static_cast<std::uint16_t>(range.first + next.fetch_add(1) % count);
}

// The kernel looks at each of its 28,000 ports before it says that none is free, which takes
// milliseconds: for so many connections it is not asked again.
constexpr std::int64_t kNamedInARow = 10'000;

// Whether a connection that is refused a port is made again from one that is named. All that were
// made from that address must have been so with SO_REUSEADDR.
bool ReusesPorts(const std::optional<Source>& source) {
  return source && !source->port_at_bind &&
         (source->transparent || source->address.family() == Family::kIpv6);
}

bool IsTaken(const Connecting& connecting) {
  using Call = Connecting::Call;
  return (connecting.error == EADDRNOTAVAIL && connecting.call == Call::kConnect) ||
         (connecting.error == EADDRINUSE && connecting.call == Call::kBind);
}

Connecting Connect(const SocketAddress& destination, const std::optional<Source>& source,
                   std::uint16_t port) {
  Connecting out;
  out.fd.reset(
      ::socket(DomainOf(destination.ip.family()), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!out.fd) {
    out.error = errno;
    return out;
  }
  ReadUrgentInline(out.fd.get());
  sockaddr_storage address;
  if (source) {
    out.call = Connecting::Call::kBind;
    if (source->transparent &&
        (SetTransparent(out.fd.get(), source->address.family()) != 0 ||
         SetInt(out.fd.get(), SOL_SOCKET, SO_MARK, static_cast<int>(source->mark)) != 0)) {
      out.error = errno;
      return out;
    }
    if (ReusesPorts(source)) SetInt(out.fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (port == 0 && !source->port_at_bind) {
      SetInt(out.fd.get(), SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    }
    const socklen_t length = ToSockaddr({source->address, port}, address);
    if (::bind(out.fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) {
      out.error = errno;
      return out;
    }
  }
  out.call = Connecting::Call::kConnect;
  const socklen_t length = ToSockaddr(destination, address);
  if (::connect(out.fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 &&
      errno != EINPROGRESS) {
    out.error = errno;
  }
  return out;
}

// From the client's own address, and a port that the client's kernel does not choose if it has the
// same range as ours. With the port of a connection that the client has itself, or has had lately,
// it would be the same connection to every socket and to conntrack, and SYNs of the one would be
// taken for packets of the other and answered by nobody.
Connecting ConnectAsClient(const SocketAddress& destination, const std::optional<Source>& source) {
  for (int i = 0; i < kPortsToTry; ++i) {
    const std::uint16_t port = NextPortBeside();
    if (port == 0) break;
    Connecting out = Connect(destination, source, port);
    if (!IsTaken(out)) return out;
  }
  return Connect(destination, source, 0);
}

}  // namespace

Connecting StartConnect(const SocketAddress& destination, const std::optional<Source>& source) {
  if (!ReusesPorts(source)) return Connect(destination, source, 0);
  if (source->transparent) return ConnectAsClient(destination, source);
  // All source ports are in TIME_WAIT: 28,000 connections a minute to one port. The kernel uses
  // those of loopback again by itself (tcp_tw_reuse=2), but does not count ::6 as loopback. Who
  // names a port may use it again, as timestamps make it safe (RFC 6191).
  static std::atomic<std::int64_t> named_left{0};
  const bool named = named_left > 0;
  if (named) --named_left;
  Connecting out = Connect(destination, source, named ? NextNamedPort() : 0);
  if (!named && IsTaken(out)) named_left = kNamedInARow;
  for (int i = 0; i < kPortsToTry && IsTaken(out); ++i) {
    out = Connect(destination, source, NextNamedPort());
  }
  return out;
}

std::optional<std::pair<std::uint32_t, std::uint32_t>> RangeWithoutPortsBeside() {
  const std::pair<std::uint32_t, std::uint32_t> range = SourcePorts();
  return PortsBeside(range).first == 0 ? std::optional(range) : std::nullopt;
}

void AdoptListener(int fd, Family family, bool transparent) {
  if (SetTransparent(fd, family, transparent) != 0 && transparent) {
    throw SystemError(errno, "listen for connections to other addresses (IP_TRANSPARENT)",
                      std::string(Name(family)),
                      "TPROXY mode needs CAP_NET_ADMIN; REDIRECT mode, with "
                      "--inbound-proxy-protocol for the client's address, needs none");
  }
  SendAtOnce(fd);
  ReadUrgentInline(fd);
  KeepAlive(fd, kRedirectedKeepAlive);
}

std::optional<UniqueFd> MakeListener(Family family, std::uint16_t port, bool transparent) {
  const std::string target = std::string(Name(family)) + " port " + std::to_string(port);
  UniqueFd fd(::socket(DomainOf(family), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) {
    if (Missing(errno)) return std::nullopt;
    throw SystemError(errno, "make a listening socket", target);
  }
  SetInt(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  SetInt(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1);
  if (family == Family::kIpv6) SetInt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
  AdoptListener(fd.get(), family, transparent);

  sockaddr_storage address;
  const socklen_t length = ToSockaddr({IpAddress::Unspecified(family), port}, address);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) {
    if (family == Family::kIpv6 && Missing(errno)) return std::nullopt;
    throw SystemError(
        errno, "bind", target,
        errno == EADDRINUSE ? "another process listens there; `ss -ltnp` names it" : "");
  }
  if (::listen(fd.get(), kBacklog) != 0) throw SystemError(errno, "listen", target);
  return fd;
}

bool IsOfOneConnection(int accept_error) {
  switch (accept_error) {
    case ECONNABORTED:
    case EINTR:
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
      return true;
    default:
      return false;
  }
}

void RefuseNewConnections(int listener_fd) {
  // Bound to an interface that does not exist, it is found by no SYN any more; the requests that it
  // has hold a reference of their own. (A filter for SYN packets, SO_ATTACH_FILTER, is refused to
  // users without privilege on some kernels.)
  SetInt(listener_fd, SOL_SOCKET, SO_BINDTOIFINDEX, std::numeric_limits<int>::max());
}

std::vector<IpAddress> LocalAddresses() {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) throw SystemError(errno, "list the local addresses");
  const std::unique_ptr<ifaddrs, decltype([](ifaddrs* p) { ::freeifaddrs(p); })> owner(list);
  std::vector<IpAddress> out;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr) continue;
    const int family = entry->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    sockaddr_storage address{};
    std::memcpy(&address, entry->ifa_addr,
                family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
    out.push_back(FromSockaddr(address).ip);
  }
  return out;
}

}  // namespace sluice::proxy
