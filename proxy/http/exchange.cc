// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/http/exchange.h"

#include <array>
#include <ctime>
#include <utility>

namespace sluice::proxy {

std::string_view ReasonPhrase(int status) {
  switch (status) {
    case 400:
      return "Bad Request";
    case 431:
      return "Request Header Fields Too Large";
    case 502:
      return "Bad Gateway";
    case 504:
      return "Gateway Timeout";
    default:
      return "Service Unavailable";
  }
}

std::string OwnAnswerText(const OwnAnswer& answer, Direction direction, bool to_head) {
  std::array<char, 64> date{};
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  std::strftime(date.data(), date.size(), "%a, %d %b %Y %H:%M:%S GMT", &utc);
  std::string text = "HTTP/1.1 " + std::to_string(answer.status) + ' ';
  text += ReasonPhrase(answer.status);
  text += "\r\ncontent-length: " + std::to_string(answer.body.size());
  text += "\r\ncontent-type: text/plain\r\ndate: ";
  text += date.data();
  text += "\r\nserver: ";
  text += ServerName(direction);
  text += "\r\nconnection: close\r\n\r\n";
  if (!to_head) text += answer.body;
  return text;
}

OwnAnswer UpstreamError(std::string_view flags, std::string_view details, std::string_view reason) {
  OwnAnswer answer{.status = 503, .flags = flags, .details = details, .body = {}};
  answer.body = "upstream connect error or disconnect/reset before headers. reset reason: ";
  answer.body += reason;
  return answer;
}

OwnAnswer UpstreamGone() {
  return UpstreamError("UC", "upstream_reset_before_response_started{connection_termination}",
                       "connection termination");
}

HttpExchange::Open& HttpExchange::OpenNow() {
  using std::chrono::duration_cast;
  using std::chrono::milliseconds;
  Open& open = open_.emplace_back();
  open.start = std::chrono::steady_clock::now();
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  open.record.start_unix_ms = duration_cast<milliseconds>(now).count();
  return open;
}

void HttpExchange::EndWith(Open& open, OwnAnswer answer) {
  discards_ = true;
  open.is_own = true;
  open.own = OwnAnswerText(answer, rules_.direction, open.to_head);
  open.record.status = answer.status;
  open.record.flags = answer.flags;
  open.record.details = answer.details;
  open.record.response_bytes = open.to_head ? 0 : answer.body.size();
}

void HttpExchange::Refuse(OwnAnswer answer) {
  if (AwaitsAnswer()) {
    EndWith(open_.front(), std::move(answer));
    // Part of a head may have come.
    response_head_.clear();
    return;
  }
  refuses_ = true;
  refusal_ = std::move(answer);
}

void HttpExchange::EndBehindThis() {
  ends_ = discards_ = done_with_server_ = true;
  held_.clear();
}

void HttpExchange::FinishFront() {
  Open& open = open_.front();
  const bool passes = open_.size() == 1 && RequestPasses();
  if (!open.complete || passes || (!open.sent && !discards_)) return;
  Finish(open);
  open_.pop_front();
}

void HttpExchange::CutRequest(std::uint64_t unpassed) {
  if (mode_ != Mode::kHttp) return;
  discards_ = true;
  if (!open_.empty() && RequestPasses()) open_.back().record.request_bytes -= unpassed;
  request_part_ = Part::kHead;
  if (!open_.empty()) FinishFront();
}

void HttpExchange::Finish(Open& open) {
  open.record.duration = std::chrono::steady_clock::now() - open.start;
  records_.push_back(std::move(open.record));
  ++made_;
}

void HttpExchange::SetTunnelStart(std::uint64_t from_client, std::uint64_t from_server) {
  tunnel_request_start_ = from_client;
  tunnel_response_start_ = from_server;
}

void HttpExchange::SetTunnelEnd(std::uint64_t from_client, std::uint64_t from_server) {
  if (mode_ != Mode::kTunnel || open_.empty()) return;
  open_.front().record.request_bytes += from_client - tunnel_request_start_;
  open_.front().record.response_bytes += from_server - tunnel_response_start_;
}

void HttpExchange::Close(std::uint64_t request_unpassed, std::uint64_t response_unpassed,
                         std::string_view flags) {
  if (!open_.empty() && mode_ != Mode::kTunnel) {
    if (RequestPasses()) open_.back().record.request_bytes -= request_unpassed;
    if (open_.front().answered && !open_.front().complete) {
      open_.front().record.response_bytes -= response_unpassed;
    }
  }
  if (http2_) http2_->Close(flags);
  for (Open& open : open_) {
    const bool is_over = open.complete || mode_ == Mode::kTunnel;
    if (!is_over && open.record.flags.empty()) open.record.flags = flags;
    Finish(open);
  }
  open_.clear();
}

}  // namespace sluice::proxy
