// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// How a session connects to its upstream: from which address, and what it means when that fails.
#include <cerrno>
#include <chrono>
#include <optional>
#include <utility>

#include "base/pod_contract.h"
#include "proxy/accept/proxy_protocol.h"
#include "proxy/accept/sockets.h"
#include "proxy/session/session.h"
#include "proxy/session/source_warning.h"

namespace sluice::proxy {
namespace {

// Without an access log nobody needs a socket's own address, and asking costs a system call. But in
// a loop no connection is ever answered: above this many unanswered ones it is asked for.
constexpr std::size_t kSuspiciouslyUnanswered = 16;

Failure ConnectFailure(int error) {
  switch (error) {
    case ECONNREFUSED:
      return Failure::kConnectRefused;
    case ETIMEDOUT:
      return Failure::kConnectTimeout;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
    case EHOSTDOWN:
      return Failure::kConnectUnreachable;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
      return Failure::kNoDescriptor;
    default:
      return Failure::kConnectOther;
  }
}

}  // namespace

SocketAddress Session::Upstream(const WorkerContext& worker) const {
  if (direction_ == Direction::kInbound && worker.config.inbound_upstream) {
    return {*worker.config.inbound_upstream, original_.port};
  }
  return original_;
}

std::optional<Source> Session::UpstreamSource(const WorkerContext& worker,
                                              const SocketAddress& upstream) const {
  if (direction_ == Direction::kOutbound) {
    // A connection of ours that came back has met the conntrack entry of one that was reset. The
    // kernel hands out ports one after the other, so there may be many such entries side by side,
    // and the next port could meet one again: bind picks another.
    if (worker.own_sockets.Passes(peer_, original_) == 0) return std::nullopt;
    return Source{.address = IpAddress::Unspecified(upstream.ip.family()), .port_at_bind = true};
  }
  if (transparent_ && peer_.ip.family() == upstream.ip.family()) {
    return Source{.address = peer_.ip, .transparent = true, .mark = worker.config.tproxy_mark};
  }
  return Source{.address = pod::PassthroughSource(upstream.ip.family())};
}

int Session::Connect(WorkerContext& worker) {
  const SocketAddress upstream = Upstream(worker);
  if (worker.ids != nullptr && !UseHttp(worker)) {
    FailConnect(worker, ENOMEM, true);
    return ENOMEM;
  }
  const std::optional<Source> source = UpstreamSource(worker, upstream);
  Connecting connecting = StartConnect(upstream, source);
  server_.fd = connecting.fd.release();
  if (connecting.error != 0) {
    if (connecting.call == Connecting::Call::kBind && connecting.error == EADDRNOTAVAIL) {
      WarnAboutSourceOnce(source->address);
      error_ = EADDRNOTAVAIL;
      Abort(worker, Failure::kNoSourceAddress);
    } else {
      FailConnect(worker, connecting.error, true);
    }
    return failure_ == Failure::kNoDescriptor ? error_ : 0;
  }
  if (!KnowOwnSocket(worker, upstream)) {
    worker.own_sockets.WarnOnce();
    Abort(worker, Failure::kLoop);
    return 0;
  }
  if (direction_ == Direction::kInbound && worker.config.inbound_proxy_protocol) {
    const ProxyProtocolHeader header(peer_, original_);
    if (!request_.Prepend(header.bytes().data(), header.bytes().size(), worker.relay)) {
      FailConnect(worker, ENOMEM, true);
      return ENOMEM;
    }
  }
  if (!worker.config.sniff) sniffer_.Stop();
  if (!WatchClient(worker) || !Watch(worker, server_, Side::kServer)) {
    FailConnect(worker, errno, true);
    return failure_ == Failure::kNoDescriptor ? error_ : 0;
  }
  worker.timers.Set(*this, worker.now_ticks + Ticks(worker.config.connect_timeout));
  return 0;
}

bool Session::KnowOwnSocket(WorkerContext& worker, const SocketAddress& upstream) {
  // This was asked before the connect, too; but another worker may have accepted the client before
  // the one that made the connection got to Add.
  const unsigned passes = worker.own_sockets.Passes(peer_, original_);
  if (!worker.config.access_log.empty() || worker.unanswered > kSuspiciouslyUnanswered) {
    upstream_local_ = LocalAddress(server_.fd);
    worker.own_sockets.Add(server_.fd, upstream_local_, upstream, passes + 1);
  }
  return passes < OwnSockets::kLoop;
}
void Session::OnConnected(WorkerContext& worker) {
  if (auto expected = ExpectedServer(worker)) {
    BeginServerHandshake(worker, std::move(expected));
    return;
  }
  BeginRelaying(worker);
  Relay(worker);
}

void Session::FailConnect(WorkerContext& worker, int error, bool immediately) {
  error_ = static_cast<std::uint16_t>(error);
  failed_at_once_ = immediately;
  const Failure failure = ConnectFailure(error);
  if (!RefuseOverHttp(worker, failure)) Abort(worker, failure);
}
}  // namespace sluice::proxy
