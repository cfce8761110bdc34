// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/session/session.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/os/reset_on_close.h"
#include "proxy/accept/sockets.h"

// The system calls of a short connection that asks once, is answered and closed by the client: 17,
// as strace -f shows them (inbound binds its source: two more; without access log: getsockname
// less):
//   accept4 getsockopt(SO_ORIGINAL_DST) socket setsockopt(SO_OOBINLINE)      - set up
//   connect
//   getsockname                                                              - for the log
//   epoll_ctl epoll_ctl
//   recvfrom sendto, recvfrom sendto                                         - request, response
//   recvfrom=0 shutdown, recvfrom=0 close close                              - both ends
// and an epoll_wait per round trip and a write to wake the log's thread, both shared by all
// connections of the worker. TCP_NODELAY and keep-alive come from the listener on one side; on the
// other they are set when they begin to matter, which a short connection does not live to see.

namespace sluice::proxy {
namespace {

// From this age on a connection is worth the system calls of keep-alive. Far below the time in
// which anything on the way forgets an idle connection.
constexpr std::chrono::seconds kKeepAliveAge{5};
// Towards the application: at most 30 s (see sockets.cc on NAT entries).
constexpr std::chrono::seconds kKeepAliveToApplication{30};
// Towards the network: finds a dead server, and keeps NATs on the way from forgetting the
// connection (the shortest that RFC 5382 allows them is two hours, in practice five minutes).
constexpr std::chrono::seconds kKeepAliveToNetwork{120};

void LookAtRequest(void* sniffer, std::span<const std::uint8_t> bytes) {
  static_cast<Sniffer*>(sniffer)->FromClient(bytes);
}

void LookAtResponse(void* sniffer, std::span<const std::uint8_t> bytes) {
  static_cast<Sniffer*>(sniffer)->FromServer(bytes);
}

}  // namespace

bool Session::Watch(WorkerContext& worker, const Endpoint& endpoint, Side side) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.u64 = reinterpret_cast<std::uintptr_t>(this) | static_cast<std::uintptr_t>(side);
  return ::epoll_ctl(worker.epoll_fd, EPOLL_CTL_ADD, endpoint.fd, &event) == 0;
}

bool Session::WatchClient(WorkerContext& worker) {
  client_watched_ = client_watched_ || Watch(worker, client_, Side::kClient);
  return client_watched_;
}

int Session::Open(WorkerContext& worker, Direction direction, int client_fd,
                  const SocketAddress& peer, const SocketAddress& original, bool transparent) {
  state_ = State::kConnecting;
  direction_ = direction;
  transparent_ = transparent;
  peer_ = peer;
  original_ = original;
  start_ = std::chrono::steady_clock::now();
  start_unix_ms_ = std::chrono::duration_cast<std::chrono::milliseconds>(
                       std::chrono::system_clock::now().time_since_epoch())
                       .count();
  client_.fd = client_fd;
  client_.writable = true;  // nothing was sent yet
  worker.stats.of(direction).sockets_open.Add(1);
  if (direction == Direction::kInbound) worker.clients.Add(peer.ip);
  BeginPending(worker);
  ++worker.unanswered;
  switch (Asked(worker)) {
    case MtlsInbound::kOff:
      // Outbound, it is known when the destination has answered.
      if (worker.mtls == nullptr || direction == Direction::kInbound) {
        Decide(worker, Security::kNone);
      }
      break;
    case MtlsInbound::kPermissive:
      return BeginDetection(worker);
    case MtlsInbound::kStrict:
      return BeginClientHandshake(worker);
  }
  return Connect(worker);
}

void Session::Use(std::unique_ptr<Layers> layers) { layers_ = std::move(layers); }

void Session::OnEvents(WorkerContext& worker, Side side, std::uint32_t events) {
  // An event of this turn, from before the server was cut.
  if (cut_ && side == Side::kServer) return;
  Endpoint& endpoint = side == Side::kClient ? client_ : server_;
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) endpoint.hangup = true;
  if ((events & EPOLLERR) != 0) endpoint.failed = true;
  if ((events & EPOLLPRI) != 0) endpoint.urgent = true;
  if (endpoint.hangup || (events & (EPOLLIN | EPOLLPRI)) != 0) endpoint.readable = true;
  if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) endpoint.writable = true;
  if (layers_) WakeCrosswise(endpoint);
  if (state_ == State::kHandshaking || state_ == State::kDetecting) {
    OnHandshakeEvent(worker, side);
    return;
  }
  if (state_ != State::kConnecting) {
    // Sessions with much to move wait until the others have been served.
    if (request_.bulk() || response_.bulk()) Requeue(worker);
    if (!queued_) Continue(worker);
    return;
  }
  if (side == Side::kClient) {
    // A client that has only ended its side still wants its answer.
    if (endpoint.failed) OnBroken(worker, side, PendingError(endpoint.fd));
  } else if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
    const int error = PendingError(endpoint.fd);
    if (error == ECONNRESET || error == EPIPE) {
      // A destination that does not listen refuses; this one was connected, and reset the
      // connection before we looked (EPIPE: after its FIN).
      if (ExpectedServer(worker)) {
        // Whatever it has sent, it has not shown who it is.
        error_ = static_cast<std::uint16_t>(error);
        Abort(worker, Failure::kTlsHandshake);
        return;
      }
      BeginRelaying(worker);
      OnBroken(worker, side, error);
    } else {
      FailConnect(worker, error, false);
    }
  } else if (endpoint.writable) {
    OnConnected(worker);
  }
}

void Session::BeginPending(WorkerContext& worker) {
  worker.stats.of(direction_).pending.Add(1);
  worker.pending[static_cast<std::size_t>(direction_)].Append(*this);
}

void Session::EndPending(WorkerContext& worker) {
  worker.stats.of(direction_).pending.Subtract(1);
  worker.pending[static_cast<std::size_t>(direction_)].Remove(*this);
}

void Session::BeginRelaying(WorkerContext& worker) {
  EndPending(worker);
  state_ = State::kRelaying;
  Decide(worker, mutual_tls_ ? Security::kMutualTls : Security::kNone);
  if (!connected_) {
    worker.stats.of(direction_).CountConnect(std::chrono::steady_clock::now() - start_);
    connected_ = true;
  }
  active_tick_ = worker.now_ticks;
  worker.timers.Set(*this, worker.now_ticks + std::min(IdleTicks(worker), Ticks(kKeepAliveAge)));
  // A transport may have to write first, even if its user does not; no event would announce that.
  if (HasTransport(client_)) client_.readable = client_.writable = true;
  if (HasTransport(server_)) {
    server_.readable = server_.writable = true;
    SendAtOnce(server_.fd);
    sends_at_once_ = true;
  }
}

void Session::Continue(WorkerContext& worker) {
  if (state_ == State::kBroken) {
    DeliverTheRest(worker);
  } else {
    Relay(worker);
  }
}

void Session::Relay(WorkerContext& worker) {
  // The first write needs no TCP_NODELAY: nothing is in flight that it would wait for. Nor does
  // what is sent together with the FIN.
  if (!sends_at_once_ && client_.readable && !client_.hangup && request_.bytes_written() > 0) {
    SendAtOnce(server_.fd);
    sends_at_once_ = true;
  }
  if (RunFlow(worker, request_, client_, server_, response_)) return;
  if (RunFlow(worker, response_, server_, client_, request_)) return;
  if (http_) SettleHttp(worker);
  if (request_.finished() && response_.finished()) {
    Close(worker);
    return;
  }
  if (layers_ && (request_.CanRun(client_, server_, layers_->request) ||
                  response_.CanRun(server_, client_, layers_->response))) {
    Requeue(worker);
  }
  if (queued_) return;
  // One side has failed, and nothing more can be read from it, or what it sent is stuck because the
  // other side does not read: pass the reset on.
  if (server_.failed) {
    OnBroken(worker, Side::kServer, PendingError(server_.fd));
  } else if (client_.failed) {
    OnBroken(worker, Side::kClient, PendingError(client_.fd));
  }
}

Progress Session::Move(WorkerContext& worker, Flow& flow, Endpoint& from, Endpoint& to) {
  const std::uint64_t read = flow.bytes_read();
  const std::uint64_t written = flow.bytes_written();
  const bool request = &flow == &request_;
  Tap tap;
  if (request ? sniffer_.WantsClient() : sniffer_.WantsServer()) {
    tap.context = &sniffer_;
    tap.look = request ? LookAtRequest : LookAtResponse;
  }
  const Progress progress =
      layers_ ? MoveLayered(worker, flow, from, to, tap) : flow.Run(from, to, worker.relay, tap);
  if (flow.bytes_read() != read || flow.bytes_written() != written) {
    // What is read only to be dropped does not keep the connection alive.
    if (!cut_ || !request) active_tick_ = worker.now_ticks;
    TcpCounters& stats = worker.stats.of(direction_).of(security_);
    if (request) {
      stats.received_bytes.Add(flow.bytes_read() - read);
    } else {
      if (!answered_) --worker.unanswered;
      answered_ = true;
      stats.sent_bytes.Add(flow.bytes_written() - written);
    }
  }
  return progress;
}

Progress Session::MoveLayered(WorkerContext& worker, Flow& flow, Endpoint& from, Endpoint& to,
                              Tap tap) {
  if (http_ && worker.draining[static_cast<std::size_t>(direction_)]) http_->Drain();
  Hops hops = &flow == &request_ ? layers_->RequestHops() : layers_->ResponseHops();
  hops.broken = state_ == State::kBroken;
  if (hops.plain()) return flow.Run(from, to, worker.relay, tap);
  const Progress progress = flow.RunLayered(from, to, hops, worker.relay, tap);
  if (http_) CountHttpFinds(worker);
  if (!http_ && layers_->RequestHops().plain() && layers_->ResponseHops().plain()) layers_.reset();
  return progress;
}

void Session::Requeue(WorkerContext& worker) {
  if (queued_) return;
  queued_ = true;
  worker.ready.push_back(this);
}

bool Session::RunFlow(WorkerContext& worker, Flow& flow, Endpoint& from, Endpoint& to,
                      const Flow& other) {
  if (flow.finished()) return false;
  switch (Move(worker, flow, from, to)) {
    case Progress::kWaiting:
      break;
    case Progress::kAgain:
      Requeue(worker);
      break;
    case Progress::kFinished:
      if (other.finished()) break;
      // Fails if the receiver has reset meanwhile, which the next call on its socket reports. A
      // transport has told its peer already, and may still have to write in order to read.
      if (!HasTransport(to)) ::shutdown(to.fd, SHUT_WR);
      worker.timers.Set(*this, worker.now_ticks + IdleTicks(worker));
      break;
    case Progress::kFailed: {
      const bool client = flow.error_at_source() == (&flow == &request_);
      OnBroken(worker, client ? Side::kClient : Side::kServer, flow.error());
      return true;
    }
  }
  return false;
}

std::uint64_t Session::IdleTicks(const WorkerContext& worker) const {
  if (cut_) return Ticks(kLinger);
  const bool half_closed = request_.ended() || response_.ended();
  const ProxyConfig& config = worker.config;
  return Ticks(half_closed ? config.half_closed_timeout.value_or(config.idle_timeout)
                           : config.idle_timeout);
}

void Session::OnTimer(WorkerContext& worker) {
  if (state_ == State::kHandshaking) {
    const bool outbound = direction_ == Direction::kOutbound;
    if (outbound && RefuseOverHttp(worker, Failure::kTlsTimeout)) return;
    Abort(worker, Failure::kTlsTimeout);
    return;
  }
  if (state_ == State::kDetecting) {
    // A client that waits for the server to speak first.
    PermitPlaintext(worker);
    return;
  }
  if (state_ == State::kConnecting) {
    FailConnect(worker, ETIMEDOUT, false);
    return;
  }
  if (state_ == State::kBroken) {
    DeliverTheRest(worker);
    return;
  }
  if (http_) {
    LookAtHttpTimer(worker);
    if (!open()) return;
  }
  if (!kept_alive_ && !cut_) {
    KeepAlive(server_.fd,
              direction_ == Direction::kInbound ? kKeepAliveToApplication : kKeepAliveToNetwork);
    kept_alive_ = true;
  }
  const std::uint64_t due = active_tick_ + IdleTicks(worker);
  if (due <= worker.now_ticks) {
    if (http_ && AnswerTimeout(worker)) return;
    Abort(worker, Failure::kIdleTimeout);
  } else {
    worker.timers.Set(*this, due);
  }
}

void Session::Abort(WorkerContext& worker, Failure failure) {
  if (failure == Failure::kUpstreamReset && IsRefusedByServer()) failure = Failure::kTlsHandshake;
  failure_ = failure;
  if (!refused_) worker.stats.of(direction_).Count(failure);
  if (client_.fd >= 0) ResetOnClose(client_.fd);
  if (connected_) ResetOnClose(server_.fd);
  Close(worker);
}

void Session::Close(WorkerContext& worker) {
  worker.timers.Cancel(*this);
  request_.Drop(worker.relay);
  response_.Drop(worker.relay);
  if (IsBeingSetUp()) EndPending(worker);
  Decide(worker, Security::kUnknown);
  if (!answered_) --worker.unanswered;
  if (upstream_local_.port != 0) {
    worker.own_sockets.Remove(server_.fd, upstream_local_, Upstream(worker));
  }
  const bool has_requests = http_ && http_->has_records();
  if (http_) CloseHttp(worker);
  if (!worker.config.access_log.empty() && !has_requests) Log(worker);
  layers_.reset();
  http_.reset();
  ::close(client_.fd);
  if (server_.fd >= 0) ::close(server_.fd);
  state_ = State::kClosed;
  worker.stats.of(direction_).CountClosed(security_, std::chrono::steady_clock::now() - start_);
  worker.stats.of(direction_).sockets_open.Subtract(1);
  if (direction_ == Direction::kInbound) worker.clients.Remove(peer_.ip);
  worker.closed.push_back(this);
}

}  // namespace sluice::proxy
