// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/sniff/sniff.h"

#include <algorithm>
#include <variant>

#include "proxy/sniff/sniff_http.h"
#include "proxy/sniff/sniff_tls.h"

namespace sluice::proxy {
namespace {

constexpr std::uint8_t kTlsHandshake = 22;

// The next bytes of one direction, after `taken` earlier ones, up to the limit.
std::span<const std::uint8_t> Take(std::span<const std::uint8_t> bytes, std::size_t& taken) {
  const auto allowed = bytes.first(std::min(bytes.size(), kMaxSniffBytes - taken));
  taken += allowed.size();
  return allowed;
}

}  // namespace

struct Sniffer::Parsers {
  std::variant<std::monostate, TlsClientHello, HttpRequestHead> client;
  HttpStatusLine server;
  std::size_t client_bytes = 0;
  std::size_t server_bytes = 0;
};

struct Sniffer::State {
  Sniffed seen;
  std::unique_ptr<Parsers> parsers = std::make_unique<Parsers>();  // until both are decided
};

Sniffer::Sniffer() = default;
Sniffer::~Sniffer() = default;
Sniffer::Sniffer(Sniffer&&) noexcept = default;
Sniffer& Sniffer::operator=(Sniffer&&) noexcept = default;

Sniffer::Parsers& Sniffer::GetParsers() {
  if (!state_) state_ = std::make_unique<State>();
  return *state_->parsers;
}

SniffStatus Sniffer::FromClient(std::span<const std::uint8_t> bytes) {
  if (!WantsClient() || bytes.empty()) return client_;
  if (!state_ || std::holds_alternative<std::monostate>(state_->parsers->client)) {
    const std::uint8_t first = bytes.front();
    if (first == kTlsHandshake) {
      GetParsers().client.emplace<TlsClientHello>();
    } else if (first >= 'A' && first <= 'Z') {
      GetParsers().client.emplace<HttpRequestHead>();
    } else {
      client_ = SniffStatus::kNotRecognised;
      Settle();
      return client_;
    }
  }
  Parsers& parsers = *state_->parsers;
  const auto taken = Take(bytes, parsers.client_bytes);
  if (auto* const tls = std::get_if<TlsClientHello>(&parsers.client)) {
    client_ = tls->Feed(taken, state_->seen);
  } else if (auto* const http = std::get_if<HttpRequestHead>(&parsers.client)) {
    client_ = http->Feed(taken, state_->seen);
  }
  if (WantsClient() && parsers.client_bytes == kMaxSniffBytes) {
    const bool has_request_line = !state_->seen.method.empty();
    client_ = has_request_line ? SniffStatus::kDone : SniffStatus::kNotRecognised;
  }
  if (!WantsClient()) Settle();
  return client_;
}

SniffStatus Sniffer::FromServer(std::span<const std::uint8_t> bytes) {
  if (!WantsServer() || bytes.empty()) return server_;
  // Traffic that is not HTTP, such as of a server that speaks first, needs no allocation.
  if ((!state_ || state_->parsers->server_bytes == 0) && bytes.front() != 'H') {
    server_ = SniffStatus::kNotRecognised;
    Settle();
    return server_;
  }
  Parsers& parsers = GetParsers();
  server_ = parsers.server.Feed(Take(bytes, parsers.server_bytes));
  if (WantsServer() && parsers.server_bytes == kMaxSniffBytes) {
    server_ = SniffStatus::kNotRecognised;
  }
  if (server_ == SniffStatus::kDone) {
    Sniffed& seen = state_->seen;
    seen.response_code = parsers.server.code();
    if (seen.spoken == Spoken::kUnknown) {  // "408 Request Timeout", to a silent client
      seen.spoken = Spoken::kHttp1;
      seen.protocol = parsers.server.protocol();
    }
  }
  if (!WantsServer()) Settle();
  return server_;
}

void Sniffer::Stop() {
  if (WantsClient()) client_ = SniffStatus::kDone;
  if (WantsServer()) server_ = SniffStatus::kDone;
  Settle();
}

const Sniffed* Sniffer::result() const {
  return state_ && state_->seen.spoken != Spoken::kUnknown ? &state_->seen : nullptr;
}

// Draws conclusions once a direction is decided. A status line only counts as the answer to HTTP/1
// (or to silence), whether it came before or after the client's bytes.
void Sniffer::Settle() {
  const Spoken spoken = state_ ? state_->seen.spoken : Spoken::kUnknown;
  const bool is_refused = client_ == SniffStatus::kNotRecognised;
  if (is_refused || spoken == Spoken::kTls || spoken == Spoken::kHttp2) {
    if (WantsServer()) server_ = SniffStatus::kNotRecognised;
    if (is_refused && state_) state_->seen = {};
    if (spoken == Spoken::kTls) state_->seen.protocol = {};
    if (state_) state_->seen.response_code = 0;
  }
  if (WantsClient() || WantsServer() || !state_) return;
  state_->parsers.reset();
  if (state_->seen.spoken == Spoken::kUnknown) state_.reset();
}

}  // namespace sluice::proxy
