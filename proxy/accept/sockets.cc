// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/accept/sockets.h"

#include <ifaddrs.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <memory>
#include <string>

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

int SetTransparent(int fd, Family family) {
  return family == Family::kIpv4 ? SetInt(fd, SOL_IP, IP_TRANSPARENT, 1)
                                 : SetInt(fd, SOL_IPV6, IPV6_TRANSPARENT, 1);
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

Connecting StartConnect(const SocketAddress& destination, const std::optional<Source>& source) {
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
    out.step = Connecting::Step::kBind;
    if (source->transparent &&
        (SetTransparent(out.fd.get(), source->address.family()) != 0 ||
         SetInt(out.fd.get(), SOL_SOCKET, SO_MARK, static_cast<int>(source->mark)) != 0)) {
      out.error = errno;
      return out;
    }
    SetInt(out.fd.get(), SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    const socklen_t length = ToSockaddr({source->address, 0}, address);
    if (::bind(out.fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) {
      out.error = errno;
      return out;
    }
  }
  out.step = Connecting::Step::kConnect;
  const socklen_t length = ToSockaddr(destination, address);
  if (::connect(out.fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 &&
      errno != EINPROGRESS) {
    out.error = errno;
  }
  return out;
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
  if (transparent && SetTransparent(fd.get(), family) != 0) {
    throw SystemError(errno, "listen for connections to other addresses (IP_TRANSPARENT)", target,
                      "TPROXY mode needs CAP_NET_ADMIN; REDIRECT mode, with "
                      "--inbound-proxy-protocol for the client's address, needs none");
  }
  SendAtOnce(fd.get());
  ReadUrgentInline(fd.get());
  KeepAlive(fd.get(), kRedirectedKeepAlive);

  sockaddr_storage address;
  const IpAddress any = family == Family::kIpv4 ? IpAddress() : IpAddress::Parse("::");
  const socklen_t length = ToSockaddr({any, port}, address);
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
