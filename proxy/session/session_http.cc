// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// What a session does when it is looked at for HTTP/1.
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "proxy/accept/sockets.h"
#include "proxy/log/access_log.h"
#include "proxy/mtls/tls_transport.h"
#include "proxy/session/session.h"

namespace sluice::proxy {
namespace {

// First bytes of which it is not known whether they are HTTP wait for more so long. A client that
// waits for an answer to them gets it then.
constexpr std::chrono::seconds kUndecidedPatience{1};

// So long a client of a destination that cannot be reached may take to ask for something, and to be
// told in its language. Its request is on its way already, as a rule.
constexpr std::chrono::seconds kRefusalPatience{1};

OwnAnswer RefusalOf(Failure failure) {
  constexpr std::string_view kFlags = "UF,URX";
  if (failure == Failure::kConnectTimeout || failure == Failure::kTlsTimeout) {
    return UpstreamError(kFlags, "upstream_reset_before_response_started{connection_timeout}",
                         "connection timeout");
  }
  return UpstreamError(kFlags, "upstream_reset_before_response_started{connection_failure}",
                       "connection failure");
}

// What Envoy says of a request whose answer is not complete.
std::string_view FlagsOf(Failure failure) {
  switch (failure) {
    case Failure::kUpstreamReset:
      return "UC";
    case Failure::kIdleTimeout:
      return "SI";
    case Failure::kDrainTimeout:
      return "DT";
    default:
      return "DC";
  }
}

// outbound|80||cart.shop.svc.cluster.local
std::string ClusterOf(Direction direction, const SocketAddress& original,
                      std::string_view authority) {
  const std::string port = std::to_string(original.port);
  if (direction == Direction::kInbound) return "inbound|" + port + "||";
  // Without the port: behind the last colon, unless that is inside of an address's brackets.
  const std::size_t colon = authority.rfind(':');
  const std::size_t bracket = authority.rfind(']');
  if (colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket)) {
    authority = authority.substr(0, colon);
  }
  if (authority.empty()) return {};
  std::string cluster;
  cluster.reserve(32 + authority.size());
  cluster.append("outbound|").append(port).append("||").append(authority);
  return cluster;
}

}  // namespace

std::string Session::ClientCertificate() const {
  if (direction_ == Direction::kOutbound) return {};
  const tls::Stream* const stream = TlsStream();
  if (stream == nullptr || stream->peer() == nullptr) return {};
  const std::optional<tls::Stream::PeerCertificate> certificate = stream->peer_certificate();
  if (!certificate) return {};
  return ForwardedClientCert(stream->own().ToString(), certificate->sha256_hex,
                             certificate->subject, stream->peer()->ToString());
}

bool Session::UseHttp(WorkerContext& worker) {
  try {
    auto exchange =
        std::make_unique<HttpExchange>(RewriteRules{.direction = direction_,
                                                    .headers = worker.config.http.headers,
                                                    .client_certificate = ClientCertificate()},
                                       *worker.ids);
    if (!layers_) layers_ = std::make_unique<Layers>();
    layers_->request.stage = exchange->RequestStage();
    layers_->response.stage = exchange->ResponseStage();
    http_ = std::move(exchange);
  } catch (const std::bad_alloc&) {
    return false;
  }
  return true;
}

void Session::CutServer(WorkerContext& worker) {
  if (cut_) return;
  cut_ = true;
  request_.Drop(worker.relay);
  if (layers_->request.stage) http_->CutRequest(std::exchange(layers_->request.passes, 0));
  if (server_.fd >= 0) {
    // Fails when it is not watched yet.
    ::epoll_ctl(worker.epoll_fd, EPOLL_CTL_DEL, server_.fd, nullptr);
    // It is reset at once, so that the server does not wait for the rest of a request.
    const sockaddr nobody{.sa_family = AF_UNSPEC, .sa_data = {}};
    ::connect(server_.fd, &nobody, sizeof(nobody));
  }
  server_.readable = server_.hangup = server_.failed = server_.urgent = false;
  server_.read_waits_for_room = server_.write_waits_for_input = false;
  // What is dropped always has room.
  server_.writable = true;
  active_tick_ = worker.now_ticks;
  worker.timers.Set(*this, worker.now_ticks + Ticks(kLinger));
}

bool Session::RefuseOverHttp(WorkerContext& worker, Failure failure) {
  if (!http_ || refused_ || failure == Failure::kNoDescriptor || client_.failed) return false;
  if (!WatchClient(worker)) return false;
  EndPending(worker);
  state_ = State::kRelaying;
  refused_ = true;
  failure_ = failure;
  worker.stats.of(direction_).Count(failure);
  http_->Refuse(RefusalOf(failure));
  CutServer(worker);
  worker.timers.Set(*this, worker.now_ticks + Ticks(kRefusalPatience));
  if (HasTransport(client_)) client_.readable = client_.writable = true;
  Relay(worker);
  return true;
}

bool Session::AnswerInsteadOfServer(WorkerContext& worker) {
  if (!connected_ || state_ != State::kRelaying || !http_->AwaitsAnswer()) return false;
  // What has come before the reset is an answer, too.
  if (!response_.finished()) {
    server_.readable = server_.hangup = true;
    const Progress progress = Move(worker, response_, server_, client_);
    if (progress == Progress::kFinished) {
      if (!HasTransport(client_)) ::shutdown(client_.fd, SHUT_WR);
    } else if (!http_->AwaitsAnswer()) {
      return false;
    }
  }
  if (http_->AwaitsAnswer() && !response_.finished()) http_->Refuse(UpstreamGone());
  if (!http_->has_done_with_server() && response_.finished()) return false;
  failure_ = Failure::kUpstreamReset;
  worker.stats.of(direction_).Count(failure_);
  CutServer(worker);
  Relay(worker);
  return true;
}

bool Session::AnswerTimeout(WorkerContext& worker) {
  if (cut_ || state_ != State::kRelaying || !http_->AwaitsAnswer()) return false;
  http_->Refuse(
      {.status = 504, .flags = "SI", .details = "stream_idle_timeout", .body = "stream timeout"});
  failure_ = Failure::kIdleTimeout;
  worker.stats.of(direction_).Count(failure_);
  CutServer(worker);
  Relay(worker);
  return true;
}

void Session::CountHttpFinds(WorkerContext& worker) {
  HttpStats* const stats = worker.stats.of(direction_).http.get();
  if (!finds_counted_ && (http_->is_http2() || http_->is_tunnel())) {
    finds_counted_ = true;
    if (stats != nullptr) (http_->is_http2() ? stats->http2 : stats->tunnels).Add(1);
    // What comes from here on is the tunnel's.
    http_->SetTunnelStart(request_.bytes_read(), response_.bytes_read());
  }
  LogRequests(worker);
  // Something else than HTTP: as if it had never been looked for.
  if (!http_->has_records() && !layers_->request.stage && !layers_->response.stage) http_.reset();
}

void Session::SettleHttp(WorkerContext& worker) {
  if (http_->has_done_with_server()) CutServer(worker);
  if (http_->HoldsUndecided() && !cut_) {
    worker.timers.Set(*this, worker.now_ticks + Ticks(kUndecidedPatience));
  }
}

void Session::LookAtHttpTimer(WorkerContext& worker) {
  if (refused_ && !http_->has_records()) {
    Abort(worker, failure_);
    return;
  }
  if (cut_) {
    if (worker.now_ticks < active_tick_ + IdleTicks(worker)) return;
    // It has had its time, and its answer if it wanted that.
    Close(worker);
    return;
  }
  if (http_->HoldsUndecided()) {
    http_->ReleaseUndecided();
    Relay(worker);
  }
}

void Session::CloseHttp(WorkerContext& worker) {
  http_->SetTunnelEnd(request_.bytes_read(), response_.bytes_read());
  http_->Close(layers_ ? layers_->request.passes : 0, layers_ ? layers_->response.passes : 0,
               FlagsOf(failure_));
  LogRequests(worker);
}

void Session::LogRequests(WorkerContext& worker) {
  std::vector<HttpRecord>& records = http_->records();
  if (records.empty()) return;
  HttpStats* const stats = worker.stats.of(direction_).http.get();
  for (const HttpRecord& request : records) {
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(request.duration);
    if (stats != nullptr) {
      const std::size_t secured = security_ == Security::kMutualTls ? 1 : 0;
      stats->CountRequest(secured, request.status, request.is_grpc, request.grpc_status);
      stats->durations.Observe(static_cast<std::uint64_t>(ms.count()));
      stats->request_bytes.Observe(request.request_bytes);
      stats->response_bytes.Observe(request.response_bytes);
    }
    if (worker.config.access_log.empty()) continue;
    Reasons reasons;
    AccessRecord record = Describe(worker, reasons);
    record.is_request = true;
    record.start_unix_ms = request.start_unix_ms;
    record.duration = ms;
    record.bytes_received = request.request_bytes;
    record.bytes_sent = request.response_bytes;
    record.response_flags = request.flags;
    record.termination_details = {};
    if (!refused_) record.transport_failure = {};
    record.method = request.method;
    record.path = request.path;
    record.protocol = request.protocol;
    record.authority = request.authority;
    record.user_agent = request.user_agent;
    record.response_code = request.status;
    record.request_id = request.request_id;
    record.forwarded_for = request.forwarded_for;
    record.response_code_details = request.details;
    record.grpc_status = request.grpc_status;
    std::string service_time;
    if (request.service_ms >= 0) service_time = std::to_string(request.service_ms);
    record.upstream_service_time = service_time;
    std::string cluster;
    // A rule of mutual TLS knows the whole name of the service; the client may ask for a short one.
    if (record.upstream_cluster.empty()) {
      cluster = ClusterOf(direction_, original_, request.authority);
      record.upstream_cluster = cluster;
    }
    AppendAccessLogLine(record, worker.log_lines);
  }
  records.clear();
}

}  // namespace sluice::proxy
