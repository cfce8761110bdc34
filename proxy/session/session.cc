// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/session/session.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "base/os/reset_on_close.h"
#include "base/pod_contract.h"
#include "proxy/accept/proxy_protocol.h"
#include "proxy/accept/sockets.h"
#include "proxy/log/access_log.h"
#include "proxy/session/source_warning.h"

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

// After one side has reset the connection, the other one gets what was on its way for as long as it
// takes some of it; so long without a byte, and it is reset as it is. More than a few
// retransmissions take on a bad network, and short enough that receivers that do not read hold
// nothing for long.
constexpr std::chrono::seconds kDeliveryPatience{5};

// Without an access log nobody needs to know a socket's own address, and asking is a system call.
// In a loop none of the connections is ever answered: from so many on it is asked for.
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

bool IsConnectFailure(Failure failure) {
  return failure >= Failure::kNoSourceAddress && failure <= Failure::kConnectOther;
}

void LookAtRequest(void* sniffer, std::span<const std::uint8_t> bytes) {
  static_cast<Sniffer*>(sniffer)->FromClient(bytes);
}

void LookAtResponse(void* sniffer, std::span<const std::uint8_t> bytes) {
  static_cast<Sniffer*>(sniffer)->FromServer(bytes);
}

}  // namespace

void PendingSessions::Append(Session& session) {
  session.pending_before_ = last_;
  session.pending_after_ = nullptr;
  (last_ != nullptr ? last_->pending_after_ : first_) = &session;
  last_ = &session;
}

void PendingSessions::Remove(Session& session) {
  Session* const before = session.pending_before_;
  Session* const after = session.pending_after_;
  (before != nullptr ? before->pending_after_ : first_) = after;
  (after != nullptr ? after->pending_before_ : last_) = before;
}

SocketAddress Session::Upstream(const WorkerContext& worker) const {
  if (direction_ == Direction::kInbound && worker.config.inbound_upstream) {
    return {*worker.config.inbound_upstream, original_.port};
  }
  return original_;
}

ConnectionInfo Session::Info(const WorkerContext& worker) const {
  ConnectionInfo info{.direction = direction_,
                      .state = StateName(),
                      .downstream_remote = peer_,
                      .downstream_local = original_,
                      .upstream_host = Upstream(worker),
                      .start_unix_ms = start_unix_ms_,
                      .bytes_received = request_.bytes_read(),
                      .bytes_sent = response_.bytes_written()};
  if (const tls::Stream* const stream = TlsStream(); stream != nullptr && stream->peer()) {
    info.peer_uri_san = stream->peer()->ToString();
    info.tls_version = stream->version();
  }
  return info;
}

std::optional<Source> Session::UpstreamSource(const WorkerContext& worker,
                                              const SocketAddress& upstream) const {
  if (direction_ == Direction::kOutbound) {
    // One that came back has followed the entry of a connection that was reset. Entries of many
    // such connections stand side by side when the kernel gave them their ports one after the
    // other, and gives the next one here: it could come back as often as may be.
    if (worker.own_sockets.Passes(peer_, original_) == 0) return std::nullopt;
    return Source{.address = IpAddress::Unspecified(upstream.ip.family()), .port_at_bind = true};
  }
  if (transparent_ && peer_.ip.family() == upstream.ip.family()) {
    return Source{.address = peer_.ip, .transparent = true, .mark = worker.config.tproxy_mark};
  }
  return Source{.address = pod::PassthroughSource(upstream.ip.family())};
}

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
  // Asked for the second time: another worker may have accepted the client before the one that made
  // it came to Add.
  const unsigned passes = worker.own_sockets.Passes(peer_, original_);
  if (!worker.config.access_log.empty() || worker.unanswered > kSuspiciouslyUnanswered) {
    upstream_local_ = LocalAddress(server_.fd);
    worker.own_sockets.Add(server_.fd, upstream_local_, upstream, passes + 1);
  }
  return passes < OwnSockets::kLoop;
}

void Session::Use(std::unique_ptr<Layers> layers) { layers_ = std::move(layers); }

void Session::OnEvents(WorkerContext& worker, Side side, std::uint32_t events) {
  // One of this turn, from before it was cut.
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
    // Those who have much to say wait until the others have been served.
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
        // Whatever it has sent, nobody knows who it was.
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

void Session::OnConnected(WorkerContext& worker) {
  if (auto expected = ExpectedServer(worker)) {
    BeginServerHandshake(worker, std::move(expected));
    return;
  }
  BeginRelaying(worker);
  Relay(worker);
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
  // A transport may have to speak first, whoever does so inside of it: no event would tell.
  if (HasTransport(client_)) client_.readable = client_.writable = true;
  if (HasTransport(server_)) {
    server_.readable = server_.writable = true;
    SendAtOnce(server_.fd);
    sends_at_once_ = true;
  }
}

void Session::FailConnect(WorkerContext& worker, int error, bool immediately) {
  error_ = static_cast<std::uint16_t>(error);
  failed_at_once_ = immediately;
  const Failure failure = ConnectFailure(error);
  if (!RefuseOverHttp(worker, failure)) Abort(worker, failure);
}

void ServeReady(WorkerContext& worker) {
  std::vector<Session*>& ready = worker.ready;
  if (ready.empty()) return;
  RelayResources& relay = worker.relay;
  const std::size_t waiting = ready.size();
  relay.share_bytes = std::max(RelayResources::kLeastShareBytes, relay.turn_bytes / waiting);
  const std::uint64_t enough = relay.moved_bytes + relay.turn_bytes;
  std::size_t served = 0;
  while (served < waiting && relay.moved_bytes < enough) {
    Session& session = *ready[served++];
    session.set_queued(false);
    if (session.open()) session.Continue(worker);
  }
  ready.erase(ready.begin(), ready.begin() + static_cast<std::ptrdiff_t>(served));
  relay.share_bytes = RelayResources::kBufferBytes;
}

void Session::Continue(WorkerContext& worker) {
  if (state_ == State::kBroken) {
    DeliverTheRest(worker);
  } else {
    Relay(worker);
  }
}

void Session::Relay(WorkerContext& worker) {
  // The first write needs no TCP_NODELAY, nothing is on the way that it could wait for; nor does
  // what comes with the FIN.
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
  // Nothing more can be read from a side that failed, or it is stuck behind a side that does not
  // read: pass the reset on.
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
    // Nobody has to wait for what is dropped.
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
      // Fails when the receiver has reset meanwhile; the next call on its socket tells. A transport
      // has told its peer, and may have to write in order to read on.
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

void Session::OnBroken(WorkerContext& worker, Side side, int error) {
  if (refused_ && (!http_ || !http_->has_records())) {
    // The client does not speak HTTP, or is gone.
    Abort(worker, failure_);
    return;
  }
  if (cut_) {
    Close(worker);
    return;
  }
  if (side == Side::kServer && http_ && AnswerInsteadOfServer(worker)) return;
  error_ = static_cast<std::uint16_t>(error);
  failure_ = side == Side::kClient ? Failure::kClientReset : Failure::kUpstreamReset;
  if (!connected_) {
    Abort(worker, failure_);
    return;
  }
  state_ = State::kBroken;
  broken_side_ = side;
  active_tick_ = worker.now_ticks;
  undelivered_bytes_ = 0;
  DeliverTheRest(worker);
}

void Session::DeliverTheRest(WorkerContext& worker) {
  const bool client = broken_side_ == Side::kClient;
  Endpoint& from = client ? client_ : server_;
  Endpoint& to = client ? server_ : client_;
  Flow& flow = client ? request_ : response_;
  // What came before a reset can still be read; the error itself may be spent, so that the stream
  // seems to end well.
  from.readable = from.hangup = true;
  if (to.failed) {
    Abort(worker, failure_);
    return;
  }
  const Progress progress = Move(worker, flow, from, to);
  if (progress == Progress::kAgain) {
    Requeue(worker);
    return;
  }
  if (progress == Progress::kFailed && !flow.error_at_source()) {
    Abort(worker, failure_);
    return;
  }
  // A reset takes back what has been written and not been confirmed.
  const Transport* const receiver =
      layers_ ? (client ? layers_->server : layers_->client).get() : nullptr;
  const std::size_t unsent = receiver != nullptr ? receiver->Unsent() : 0;
  const std::uint32_t undelivered = UnconfirmedBytes(to.fd) + static_cast<std::uint32_t>(unsent);
  const bool waits_for_room = progress == Progress::kWaiting && !to.writable;
  if (!waits_for_room && undelivered == 0) {
    Abort(worker, failure_);
    return;
  }
  if (undelivered != undelivered_bytes_) active_tick_ = worker.now_ticks;
  undelivered_bytes_ = undelivered;
  const std::uint64_t silent = worker.now_ticks - active_tick_;
  if (silent >= Ticks(kDeliveryPatience)) {
    Abort(worker, failure_);
  } else {
    // No event tells when the last byte is confirmed. Look again soon, and then less and less
    // often.
    worker.timers.Set(*this, worker.now_ticks + 1 + silent / 2);
  }
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

AccessRecord Session::Describe(const WorkerContext& worker, Reasons& reasons) const {
  const bool loop = failure_ == Failure::kLoop;
  const bool before_connect = state_ == State::kDetecting || state_ == State::kHandshaking;
  const bool nobody = loop || (before_connect && !connected_);
  AccessRecord record{.direction = direction_,
                      .start_unix_ms = start_unix_ms_,
                      .bytes_received = request_.bytes_read(),
                      .bytes_sent = response_.bytes_written(),
                      .downstream_remote = peer_,
                      .downstream_local = original_,
                      .upstream_host = nobody ? SocketAddress{} : Upstream(worker),
                      .upstream_local = connected_ ? upstream_local_ : SocketAddress{},
                      .refused = loop};
  std::string& reason = reasons.transport;
  std::string& details = reasons.details;
  if (IsConnectFailure(failure_)) {
    record.response_flags = "UF,URX";
    if (failure_ == Failure::kNoSourceAddress) {
      reason = "bind_error: the source address " +
               pod::PassthroughSource(record.upstream_host.ip.family()).ToString() +
               " is missing on lo";
    } else {
      reason = failed_at_once_ ? "immediate_connect_error: " : "delayed_connect_error: ";
      reason += std::strerror(error_);
    }
    details = Name(failure_);
    std::ranges::replace(reason, ' ', '_');
  } else if (failure_ == Failure::kNoDescriptor) {
    record.response_flags = "UO";
    details = std::string(Name(failure_)) + ": " + std::strerror(error_);
  } else if (failure_ != Failure::kCount) {
    if (failure_ == Failure::kDrainTimeout) record.response_flags = "DT";
    if (loop) record.response_flags = "NR";
    if (failure_ == Failure::kPendingLimit) record.response_flags = "UO";
    details = Name(failure_);
    const bool reset = error_ == 0 || error_ == ECONNRESET || error_ == EPIPE;
    if (!reset && failure_ != Failure::kTlsHandshake)
      details = details + ": " + std::strerror(error_);
  }
  record.transport_failure = reason;
  if (mutual_tls_) {
    DescribeTls(record, reasons);
  } else if (failure_ == Failure::kTlsHandshake) {
    // It did not come to that.
    record.response_flags = "UF,URX";
    record.transport_failure = "TLS_error:_the_peer_reset_the_connection";
  }
  record.termination_details = details;
  return record;
}

void Session::Log(WorkerContext& worker) {
  Reasons reasons;
  AccessRecord record = Describe(worker, reasons);
  record.duration = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - start_);
  if (const Sniffed* const seen = sniffer_.result()) {
    if (!seen->server_name.empty()) record.requested_server_name = seen->server_name;
    record.method = seen->method;
    record.path = seen->path;
    record.protocol = seen->protocol;
    record.authority = seen->authority;
    record.user_agent = seen->user_agent;
    record.response_code = seen->response_code;
  }
  AppendAccessLogLine(record, worker.log_lines);
}

}  // namespace sluice::proxy
