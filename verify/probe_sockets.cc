// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "verify/probe_sockets.h"

#include <netinet/in.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/pod_contract.h"

namespace sluice::verify {
namespace {

using capture::Protocol;

// Connections come one at a time; the rest is for duplicates.
constexpr int kBacklog = 8;

// setfsuid(2) returns the previous id, and does not report failure.
bool SetFsUid(uid_t uid) {
  setfsuid(uid);
  return static_cast<uid_t>(setfsuid(static_cast<uid_t>(-1))) == uid;
}
bool SetFsGid(gid_t gid) {
  setfsgid(gid);
  return static_cast<gid_t>(setfsgid(static_cast<gid_t>(-1))) == gid;
}

// While this lives, opened files belong to `owner`.
class ActAs {
 public:
  explicit ActAs(const Owner& owner)
      : before_(CurrentOwner()), done_(SetFsGid(owner.gid) && SetFsUid(owner.uid)) {}
  ActAs(const ActAs&) = delete;
  ActAs& operator=(const ActAs&) = delete;
  ~ActAs() {
    setfsuid(before_.uid);
    setfsgid(before_.gid);
  }
  bool done() const { return done_; }

 private:
  Owner before_;
  bool done_;
};

int Domain(Family family) { return family == Family::kIpv4 ? AF_INET : AF_INET6; }

UniqueFd OpenSocket(Family family, capture::Protocol protocol) {
  const int type = protocol == capture::Protocol::kTcp ? SOCK_STREAM : SOCK_DGRAM;
  UniqueFd fd(socket(Domain(family), type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) throw SystemError(errno, "open a socket", std::string(Name(family)));
  return fd;
}

void SetOption(int fd, int level, int option, const char* name) {
  const int on = 1;
  if (setsockopt(fd, level, option, &on, sizeof(on)) != 0) {
    throw SystemError(errno, std::string("set ") + name);
  }
}

// 0, or the errno of bind or listen.
int Bind(int fd, const SocketAddress& address, capture::Protocol protocol) {
  SetOption(fd, SOL_SOCKET, SO_REUSEADDR, "SO_REUSEADDR");
  if (!address.ip.is_v4()) SetOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, "IPV6_V6ONLY");
  sockaddr_storage raw;
  const socklen_t length = ToSockaddr(address, raw);
  if (bind(fd, reinterpret_cast<sockaddr*>(&raw), length) != 0) return errno;
  if (protocol == capture::Protocol::kTcp && listen(fd, kBacklog) != 0) return errno;
  return 0;
}

SocketAddress LocalName(int fd) {
  sockaddr_storage raw = {};
  socklen_t length = sizeof(raw);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&raw), &length) != 0) return {};
  return FromSockaddr(raw);
}

// The DNS address of Istio's agent. A socket bound to all addresses could answer from another
// address than the query was sent to, and conntrack would not recognize the answer.
IpAddress Loopback(Family family) {
  return family == Family::kIpv4 ? IpAddress::V4(127, 0, 0, 1) : IpAddress::Parse("::1");
}

// One of the owners that the rules take for the proxy.
Owner ProxyOwner(const capture::CaptureConfig& config) {
  Owner out = CurrentOwner();
  if (!config.proxy_uids.empty()) {
    out.uid = config.proxy_uids.front();
  } else if (!config.proxy_gids.empty()) {
    out.gid = config.proxy_gids.front();
  }
  return out;
}

Listener Listen(Landing landing, capture::Protocol protocol, const SocketAddress& at,
                const Owner& owner, bool transparent) {
  const Family family = at.ip.family();
  Listener out{.landing = landing, .protocol = protocol, .address = at};
  auto owned = OpenSocketAs(owner, family, protocol);
  out.as_proxy = owned.has_value();
  out.fd = owned ? std::move(*owned) : OpenSocket(family, protocol);
  if (transparent && family == Family::kIpv4) {
    SetOption(out.fd.get(), IPPROTO_IP, IP_TRANSPARENT, "IP_TRANSPARENT");
  } else if (transparent) {
    SetOption(out.fd.get(), IPPROTO_IPV6, IPV6_TRANSPARENT, "IPV6_TRANSPARENT");
  }
  const int failure = Bind(out.fd.get(), out.address, protocol);
  if (failure == EADDRINUSE) {
    throw Error(ErrorKind::kFailed, {.doing = "listen in the proxy's place",
                                     .target = out.address.ToString(),
                                     .why = "the port is in use",
                                     .help = "the proxy runs already; validate before it starts"});
  }
  if (failure != 0) {
    throw SystemError(failure, "listen in the proxy's place", out.address.ToString());
  }
  return out;
}

}  // namespace

Owner CurrentOwner() {
  return {.uid = static_cast<std::uint32_t>(setfsuid(static_cast<uid_t>(-1))),
          .gid = static_cast<std::uint32_t>(setfsgid(static_cast<gid_t>(-1)))};
}

bool MayActAsOthers() {
  const Owner self = CurrentOwner();
  return ActAs({.uid = self.uid + 1, .gid = self.gid + 1}).done();
}

std::optional<UniqueFd> OpenSocketAs(const Owner& owner, Family family,
                                     capture::Protocol protocol) {
  const ActAs as(owner);
  if (!as.done()) return std::nullopt;
  return OpenSocket(family, protocol);
}

std::vector<Listener> ListenAsProxy(const capture::CaptureConfig& config, Family family,
                                    const std::vector<Probe>& probes, bool transparent) {
  const auto wanted = [&](Landing landing) {
    return std::ranges::any_of(probes, [landing](const Probe& probe) {
      return probe.expected == landing && probe.obstacle.empty();
    });
  };
  const Owner owner = ProxyOwner(config);
  const IpAddress any = IpAddress::Unspecified(family);
  std::vector<Listener> out;
  // Always both, to see packets that go to the wrong one.
  out.push_back(Listen(Landing::kInbound, capture::Protocol::kTcp, {any, config.inbound_port},
                       owner, transparent));
  if (config.outbound_port != config.inbound_port) {
    out.push_back(Listen(Landing::kOutbound, capture::Protocol::kTcp, {any, config.outbound_port},
                         owner, false));
  }
  if (wanted(Landing::kDns)) {
    for (const capture::Protocol protocol : {capture::Protocol::kTcp, capture::Protocol::kUdp}) {
      out.push_back(
          Listen(Landing::kDns, protocol, {Loopback(family), config.dns_port}, owner, false));
    }
  }
  return out;
}

DirectListener ListenDirectly(const SocketAddress& at) {
  Listener listener{.address = at, .fd = OpenSocket(at.ip.family(), capture::Protocol::kTcp)};
  const int failure = Bind(listener.fd.get(), at, capture::Protocol::kTcp);
  if (failure != 0) return {.listener = std::nullopt, .failure = failure};
  listener.address = LocalName(listener.fd.get());
  return {.listener = std::move(listener)};
}

Delivery DescribeConnection(int fd) {
  Delivery out;
  out.local = LocalName(fd);
  sockaddr_storage raw = {};
  socklen_t length = sizeof(raw);
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&raw), &length) == 0) {
    out.client = FromSockaddr(raw);
  }
  const bool v4 = out.local.ip.is_v4();
  length = sizeof(raw);
  if (getsockopt(fd, v4 ? SOL_IP : SOL_IPV6, pod::kOriginalDestinationOption, &raw, &length) == 0) {
    out.original = FromSockaddr(raw);
  }
  return out;
}

}  // namespace sluice::verify
