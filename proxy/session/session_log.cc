// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// What a session says of itself: its line in the access log, and its entry at the control path.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/pod_contract.h"
#include "proxy/log/access_log.h"
#include "proxy/session/session.h"

namespace sluice::proxy {
namespace {

bool IsConnectFailure(Failure failure) {
  return failure >= Failure::kNoSourceAddress && failure <= Failure::kConnectOther;
}

}  // namespace

std::string_view Session::StateName() const {
  switch (state_) {
    case State::kDetecting:
      return "detecting";
    case State::kHandshaking:
      return "handshaking";
    case State::kConnecting:
      return "connecting";
    default:
      return "relaying";
  }
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
