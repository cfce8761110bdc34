// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// What a session does until the peer of mutual TLS has shown who it is.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "proxy/log/access_log.h"
#include "proxy/mtls/tls_transport.h"
#include "proxy/session/session.h"
#include "proxy/sniff/mutual_tls_offer.h"

namespace sluice::proxy {

void Session::Decide(WorkerContext& worker, Security security) {
  if (decided_) return;
  decided_ = true;
  security_ = security;
  worker.stats.of(direction_).of(security).opened.Add(1);
}

MtlsInbound Session::Asked(const WorkerContext& worker) const {
  if (worker.mtls == nullptr || direction_ == Direction::kOutbound) return MtlsInbound::kOff;
  return worker.mtls->Inbound(original_.port);
}

int Session::BeginDetection(WorkerContext& worker) {
  state_ = State::kDetecting;
  if (!WatchClient(worker)) {
    FailConnect(worker, errno, true);
    return failure_ == Failure::kNoDescriptor ? error_ : 0;
  }
  worker.timers.Set(*this, worker.now_ticks + Ticks(worker.config.mtls.detection_timeout));
  return 0;
}

// The bytes stay in the socket, and whoever reads them next gets all of them. A ClientHello that
// comes in pieces is looked at again with each, which is an event of its own.
void Session::Detect(WorkerContext& worker) {
  if (client_.failed) {
    error_ = static_cast<std::uint16_t>(PendingError(client_.fd));
    Abort(worker, Failure::kClientReset);
    return;
  }
  RelayResources& relay = worker.relay;
  static_assert(kMaxSniffBytes <= RelayResources::kBufferBytes);
  const ssize_t got = ::recv(client_.fd, relay.buffer.data(), kMaxSniffBytes, MSG_PEEK);
  if (got < 0 && errno == EAGAIN) return;
  const auto size = got < 0 ? std::size_t{0} : static_cast<std::size_t>(got);
  MtlsOffer offer = MtlsOffer::kNo;
  try {
    offer = OffersMutualTls({reinterpret_cast<const std::uint8_t*>(relay.buffer.data()), size});
  } catch (const std::bad_alloc&) {
    FailConnect(worker, ENOMEM, true);
    return;
  }
  if (offer == MtlsOffer::kYes) {
    // No event tells of what is there already.
    if (BeginClientHandshake(worker) == 0 && open()) QueueHandshake(worker);
  } else if (offer == MtlsOffer::kNo || client_.hangup) {
    PermitPlaintext(worker);
  }
}

void Session::PermitPlaintext(WorkerContext& worker) {
  worker.stats.of(direction_).permitted_plaintext.Add(1);
  Decide(worker, Security::kNone);
  state_ = State::kConnecting;
  Connect(worker);
}

std::shared_ptr<const OutboundPeer> Session::ExpectedServer(const WorkerContext& worker) const {
  if (worker.mtls == nullptr || direction_ == Direction::kInbound) return nullptr;
  return worker.mtls->Expected(original_);
}

bool Session::UseTls(const WorkerContext& worker, int fd, tls::Stream::Options options) {
  const bool server = options.role == tls::Stream::Role::kServer;
  try {
    auto transport = std::make_unique<TlsTransport>(worker.mtls->Context(), fd, std::move(options));
    // HTTP may have its stages there.
    if (!layers_) layers_ = std::make_unique<Layers>();
    (server ? layers_->client : layers_->server) = std::move(transport);
  } catch (const std::bad_alloc&) {
    return false;
  }
  mutual_tls_ = true;
  state_ = State::kHandshaking;
  return true;
}

int Session::BeginClientHandshake(WorkerContext& worker) {
  if (!UseTls(worker, client_.fd,
              {.role = tls::Stream::Role::kServer,
               .allowed = worker.mtls->allowed(),
               .server_name = {}})) {
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

void Session::BeginServerHandshake(WorkerContext& worker,
                                   std::shared_ptr<const OutboundPeer> expected) {
  worker.stats.of(direction_).CountConnect(std::chrono::steady_clock::now() - start_);
  connected_ = true;
  SendAtOnce(server_.fd);
  if (!UseTls(worker, server_.fd,
              {.role = tls::Stream::Role::kClient,
               // A part of it, which keeps all of it.
               .allowed = tls::Stream::Allowed(expected, &expected->ids),
               .server_name = expected->ServerName(original_.port)})) {
    FailConnect(worker, ENOMEM, false);
    return;
  }
  worker.timers.Set(*this, worker.now_ticks + Ticks(worker.config.connect_timeout));
  QueueHandshake(worker);
}

tls::Stream* Session::TlsStream() const {
  if (!mutual_tls_ || !layers_) return nullptr;
  Transport* const end =
      direction_ == Direction::kInbound ? layers_->client.get() : layers_->server.get();
  return &static_cast<TlsTransport*>(end)->stream();
}

void Session::OnHandshakeEvent(WorkerContext& worker, Side side) {
  if (state_ == State::kDetecting) {
    Detect(worker);
    return;
  }
  if (direction_ == Direction::kInbound || side == Side::kServer) {
    QueueHandshake(worker);
  } else if (client_.failed) {
    // A client that has only ended its side still wants its answer.
    error_ = static_cast<std::uint16_t>(PendingError(client_.fd));
    Abort(worker, Failure::kClientReset);
  }
}

void Session::QueueHandshake(WorkerContext& worker) {
  if (queued_) return;
  queued_ = true;
  worker.handshakes.Append(*this, shaking_);
}

void Session::ContinueHandshake(WorkerContext& worker) {
  shaking_ = true;
  const tls::Stream::Result result = TlsStream()->Handshake();
  heard_ = heard_ || result.took_input;
  switch (result.status) {
    case tls::Stream::Status::kWaitsForInput:
    case tls::Stream::Status::kWaitsForRoom:
      return;
    case tls::Stream::Status::kAgain:
      QueueHandshake(worker);
      return;
    case tls::Stream::Status::kDone:
      if (direction_ == Direction::kInbound) {
        // Closed as it is when there is nothing to connect with: other clients have done no better.
        Decide(worker, Security::kMutualTls);
        state_ = State::kConnecting;
        Connect(worker);
      } else {
        BeginRelaying(worker);
        Relay(worker);
      }
      return;
    case tls::Stream::Status::kEnded:
    case tls::Stream::Status::kFailed:
      error_ = static_cast<std::uint16_t>(result.error);
      if (direction_ == Direction::kOutbound && RefuseOverHttp(worker, Failure::kTlsHandshake)) {
        return;
      }
      // Probes connect, and go when that has worked.
      Abort(worker, heard_ || direction_ == Direction::kOutbound ? Failure::kTlsHandshake
                                                                 : Failure::kClientReset);
      return;
  }
}

bool Session::IsRefusedByServer() const {
  return direction_ == Direction::kOutbound && mutual_tls_ && TlsStream()->refused() &&
         response_.bytes_read() == 0;
}

void Session::DescribeTls(AccessRecord& record, Reasons& reasons) const {
  std::string& reason = reasons.tls;
  const bool inbound = direction_ == Direction::kInbound;
  const tls::Stream& stream = *TlsStream();
  record.tls_version = stream.version();
  if (inbound) {
    record.requested_server_name = stream.server_name();
  } else if (const std::string_view host = HostOfServerName(stream.server_name()); !host.empty()) {
    reasons.cluster = "outbound|" + std::to_string(original_.port) + "||";
    reasons.cluster += host;
    record.upstream_cluster = reasons.cluster;
  }
  if (const tls::SpiffeId* const peer = stream.peer()) {
    (inbound ? record.downstream_peer_uri_san : record.upstream_peer_uri_san) = peer->ToString();
  }
  const bool failed = failure_ == Failure::kTlsHandshake || failure_ == Failure::kTlsTimeout;
  if (failure_ == Failure::kTlsTimeout) {
    reason = "TLS_error: the handshake has not come to its end in time";
  } else if (!stream.why().empty()) {
    reason = "TLS_error: " + stream.why();
  }
  std::ranges::replace(reason, ' ', '_');
  if (inbound) {
    record.downstream_transport_failure = reason;
    // As Istio's proxies say it of a client that does not fit the policy.
    if (stream.why() == tls::kNoTls) record.response_flags = "NR";
  } else {
    if (!reason.empty()) record.transport_failure = reason;
    if (failed) record.response_flags = "UF,URX";
  }
}

}  // namespace sluice::proxy
