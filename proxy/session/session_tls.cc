// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// What a session does until the peer of mutual TLS has shown who it is.
#include <algorithm>
#include <cerrno>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "proxy/log/access_log.h"
#include "proxy/mtls/tls_transport.h"
#include "proxy/session/session.h"

namespace sluice::proxy {

std::string_view Session::StateName() const {
  switch (state_) {
    case State::kHandshaking:
      return "handshaking";
    case State::kConnecting:
      return "connecting";
    default:
      return "relaying";
  }
}

bool Session::NeedsHandshake(const WorkerContext& worker) const {
  return worker.mtls != nullptr && direction_ == Direction::kInbound &&
         worker.mtls->Inbound(original_.port) == MtlsInbound::kStrict;
}

int Session::BeginHandshake(WorkerContext& worker) {
  state_ = State::kHandshaking;
  try {
    auto layers = std::make_unique<Layers>();
    layers->client =
        std::make_unique<TlsTransport>(worker.mtls->Context(), client_.fd,
                                       tls::Stream::Options{.role = tls::Stream::Role::kServer,
                                                            .allowed = worker.mtls->allowed(),
                                                            .server_name = {}});
    Use(std::move(layers));
    mutual_tls_ = true;
  } catch (const std::bad_alloc&) {
    FailConnect(worker, ENOMEM, true);
    return error_;
  }
  if (!WatchClient(worker)) {
    FailConnect(worker, errno, true);
    return failure_ == Failure::kNoDescriptor ? error_ : 0;
  }
  worker.timers.Set(*this, worker.now_ticks + Ticks(worker.config.connect_timeout));
  return 0;
}

const tls::Stream* Session::TlsStream() const {
  if (!mutual_tls_ || !layers_) return nullptr;
  const Transport* const end =
      direction_ == Direction::kInbound ? layers_->client.get() : layers_->server.get();
  return &static_cast<const TlsTransport*>(end)->stream();
}

void Session::OnHandshakeEvent(WorkerContext& worker) {
  if (queued_) return;
  queued_ = true;
  worker.handshakes.push_back(this);
}

void Session::ContinueHandshake(WorkerContext& worker) {
  auto& stream = static_cast<TlsTransport&>(*layers_->client).stream();
  const tls::Stream::Result result = stream.Handshake();
  heard_ = heard_ || result.took_input;
  switch (result.status) {
    case tls::Stream::Status::kWaitsForInput:
    case tls::Stream::Status::kWaitsForRoom:
      return;
    case tls::Stream::Status::kAgain:
      OnHandshakeEvent(worker);
      return;
    case tls::Stream::Status::kDone:
      // Closed as it is when there is nothing to connect with: other clients have done no better.
      state_ = State::kConnecting;
      Connect(worker);
      return;
    case tls::Stream::Status::kEnded:
    case tls::Stream::Status::kFailed:
      error_ = static_cast<std::uint16_t>(result.error);
      // Probes connect, and go when that has worked.
      Abort(worker, heard_ ? Failure::kTlsHandshake : Failure::kClientReset);
      return;
  }
}

void ServeHandshake(WorkerContext& worker) {
  while (!worker.handshakes.empty()) {
    Session& session = *worker.handshakes.front();
    worker.handshakes.pop_front();
    session.set_queued(false);
    if (!session.open()) continue;
    session.ContinueHandshake(worker);
    return;
  }
}

void Session::DescribeTls(AccessRecord& record, std::string& reason) const {
  const tls::Stream& stream = *TlsStream();
  record.tls_version = stream.version();
  if (const tls::SpiffeId* const peer = stream.peer()) {
    record.downstream_peer_uri_san = peer->ToString();
  }
  if (failure_ == Failure::kTlsTimeout) {
    reason = "TLS_error: the handshake has not come to its end in time";
  } else if (!stream.why().empty()) {
    // As Istio's proxies say it of a client that does not fit the policy.
    if (stream.why() == tls::kNoTls) record.response_flags = "NR";
    reason = "TLS_error: " + stream.why();
  }
  std::ranges::replace(reason, ' ', '_');
  record.downstream_transport_failure = reason;
}

}  // namespace sluice::proxy
