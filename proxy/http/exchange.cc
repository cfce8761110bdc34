// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/http/exchange.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <span>
#include <utility>

#include "proxy/sniff/sniff.h"

namespace sluice::proxy {
namespace {

// Longer than a UUID, and than what others use.
constexpr std::size_t kMaxRequestId = 128;
// A chain of some proxies.
constexpr std::size_t kMaxForwardedFor = 256;

// A body that ends with the connection: more than will ever come, and less than Stage::kTheRest,
// with which the stage would go.
constexpr std::uint64_t kUntilTheEnd = Stage::kTheRest / 2;

std::string Cut(std::string_view text, std::size_t most) {
  return std::string(text.substr(0, most));
}

std::string_view Reason(int status) {
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

std::string_view View(std::span<const char> bytes) { return {bytes.data(), bytes.size()}; }

// The authority and the path of a target (RFC 9112, section 3.2).
void SplitTarget(const RequestHead& head, HttpRecord& record) {
  std::string_view target = head.target;
  if (head.is_connect()) {
    record.authority = Cut(target, kMaxAuthority);
    return;
  }
  const std::size_t scheme = target.find("://");
  if (!target.starts_with('/') && scheme != std::string_view::npos) {
    target.remove_prefix(scheme + 3);
    const std::size_t slash = std::min(target.find_first_of("/?"), target.size());
    record.authority = Cut(target.substr(0, slash), kMaxAuthority);
    target.remove_prefix(slash);
    if (target.empty()) target = "/";
  }
  record.path = Cut(target, kMaxPath);
}

}  // namespace

std::string OwnAnswerText(const OwnAnswer& answer, Direction direction, bool to_head) {
  std::array<char, 64> date{};
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  std::strftime(date.data(), date.size(), "%a, %d %b %Y %H:%M:%S GMT", &utc);
  std::string text = "HTTP/1.1 " + std::to_string(answer.status) + ' ';
  text += Reason(answer.status);
  text += "\r\ncontent-length: " + std::to_string(answer.body.size());
  text += "\r\ncontent-type: text/plain\r\ndate: ";
  text += date.data();
  text += "\r\nserver: ";
  text += ServerName(direction);
  text += "\r\nconnection: close\r\n\r\n";
  if (!to_head) text += answer.body;
  return text;
}

void HttpExchange::SetOwn(Open& open, OwnAnswer answer) {
  open.is_own = true;
  open.own = OwnAnswerText(answer, rules_.direction, open.to_head);
  open.record.status = answer.status;
  open.record.flags = answer.flags;
  open.record.details = answer.details;
  open.record.response_bytes = open.to_head ? 0 : answer.body.size();
}

void HttpExchange::Refuse(OwnAnswer answer) {
  if (AwaitsAnswer()) {
    discards_ = true;
    SetOwn(open_.front(), std::move(answer));
    // An interim answer has passed, or part of a head came.
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
  for (Open& open : open_) {
    const bool is_over = open.complete || mode_ == Mode::kTunnel;
    if (!is_over && open.record.flags.empty()) open.record.flags = flags;
    Finish(open);
  }
  open_.clear();
}

// Of the client.

bool HttpExchange::RequestWaits() const {
  if (mode_ != Mode::kHttp || discards_ || request_part_ != Part::kHead) return false;
  return tunnel_asked_ || open_.size() >= kMaxOpen;
}

bool HttpExchange::RequestHasWork() const {
  switch (mode_) {
    case Mode::kDetecting:
      return releases_ && held_.size() > released_;
    case Mode::kHttp:
      return request_part_ == Part::kLength || (!held_.empty() && !RequestWaits());
    case Mode::kOpaque:
    case Mode::kTunnel:
      break;
  }
  return true;
}

HttpExchange::Step HttpExchange::Detect(std::string& out) {
  switch (GuessProtocol(held_)) {
    case HttpGuess::kUndecided:
      return {};
    case HttpGuess::kHttp1:
      mode_ = Mode::kHttp;
      return TakeHeld(out);
    case HttpGuess::kPreface:
      is_http2_ = true;
      break;
    case HttpGuess::kOther:
      break;
  }
  mode_ = Mode::kOpaque;
  if (refuses_) return {.error = ECONNREFUSED};
  return TakeHeld(out);
}

// What is held is all of the bytes there are.
HttpExchange::Step HttpExchange::TakeHeld(std::string& out) {
  if (mode_ == Mode::kOpaque || mode_ == Mode::kTunnel) {
    out.append(held_, std::exchange(released_, 0));
    held_.clear();
    return {.passes = Stage::kTheRest};
  }
  const std::string held = std::exchange(held_, {});
  std::string_view rest = held;
  Step step;
  do {
    step = ConsumeRequest(rest, out);
    if (step.error != 0) return step;
    rest.remove_prefix(step.used);
    const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(step.passes, rest.size()));
    out.append(rest.substr(0, size));
    rest.remove_prefix(size);
    step.passes -= size;
    if (size == 0) break;
  } while (step.passes == 0 && !rest.empty());
  held_ = rest;
  return {.passes = step.passes};
}

HttpExchange::Step HttpExchange::ConsumeRequest(std::string_view bytes, std::string& out) {
  Step step;
  // What was let pass has come.
  if (request_part_ == Part::kLength) RequestSent();
  if (request_part_ == Part::kChunkData) request_part_ = Part::kChunked;
  while (step.used < bytes.size() && step.passes == 0) {
    if (discards_) {
      step.used = bytes.size();
      break;
    }
    const std::string_view rest = bytes.substr(step.used);
    if (request_part_ == Part::kChunked) {
      const ChunkReader::Step chunk = request_chunks_.Feed(rest, out);
      step.used += chunk.used;
      if (chunk.error != nullptr) {
        step.error = RefuseRequest(400, chunk.error);
        if (step.error != 0) return step;
      } else if (chunk.done) {
        RequestSent();
      } else if (chunk.data > 0) {
        open_.back().record.request_bytes += chunk.data;
        request_part_ = Part::kChunkData;
        step.passes = chunk.data;
      }
      continue;
    }
    if (RequestWaits()) break;
    std::size_t used = 0;
    const HeadScanner::Status status = request_scanner_.Feed(rest, used);
    if (status == HeadScanner::Status::kBad) {
      RefuseRequest(400, "a line that does not end with CRLF");
    } else if (status == HeadScanner::Status::kTooLong) {
      RefuseRequest(431, "a head that is too large");
    } else {
      step.used += used;
      if (status == HeadScanner::Status::kMore || !request_head_.empty()) {
        request_head_.append(rest.substr(0, used));
      }
      if (status == HeadScanner::Status::kMore) break;
      const std::string text = std::exchange(request_head_, {});
      const std::size_t leading = std::exchange(request_scanner_, {}).leading();
      std::string_view head = text.empty() ? rest.substr(0, used) : std::string_view(text);
      head.remove_prefix(leading);
      OnRequestHead(head, leading, out);
      if (request_part_ == Part::kLength) step.passes = open_.back().record.request_bytes;
    }
  }
  return step;
}

void HttpExchange::OnRequestHead(std::string_view text, std::size_t leading, std::string& out) {
  RequestHead head;
  if (const HeadError error = ParseRequestHead(text, head)) {
    RefuseRequest(400, error);
    return;
  }
  Open& open = BeginRequest(head);
  if (refuses_) {
    discards_ = true;
    SetOwn(open, std::move(refusal_));
    return;
  }
  std::string written;
  WriteRequestHead(head, rules_, ids_, written, open.record.request_id);
  // The part of the first line that has been sent is as it was.
  const std::size_t released = std::exchange(released_, 0);
  out.append(written, released > leading ? released - leading : 0);
  if (open.record.request_id.size() > kMaxRequestId) open.record.request_id.resize(kMaxRequestId);
  tunnel_asked_ = open.asks_for_upgrade || open.is_connect;
  if (head.body.kind == BodyKind::kLength) {
    request_part_ = Part::kLength;
    open.record.request_bytes = head.body.length;
  } else if (head.body.kind == BodyKind::kChunked) {
    request_part_ = Part::kChunked;
    request_chunks_ = ChunkReader();
  } else {
    RequestSent();
  }
}

HttpExchange::Open& HttpExchange::BeginRequest(const RequestHead& head) {
  Open& open = open_.emplace_back();
  open.start = std::chrono::steady_clock::now();
  open.to_head = head.method == "HEAD";
  open.asks_for_upgrade = head.asks_for_upgrade;
  open.is_connect = head.is_connect();
  HttpRecord& record = open.record;
  record.start_unix_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                             std::chrono::system_clock::now().time_since_epoch())
                             .count();
  record.method = Cut(head.method, kMaxMethod);
  record.protocol = head.is_http11 ? "HTTP/1.1" : "HTTP/1.0";
  SplitTarget(head, record);
  for (const HttpField& field : head.fields) {
    if (IsField(field.name, "host")) {
      if (record.authority.empty()) record.authority = Cut(field.value, kMaxAuthority);
    } else if (IsField(field.name, "user-agent")) {
      record.user_agent = Cut(field.value, kMaxUserAgent);
    } else if (IsField(field.name, "x-forwarded-for")) {
      record.forwarded_for = Cut(field.value, kMaxForwardedFor);
    }
  }
  return open;
}

void HttpExchange::RequestSent() {
  request_part_ = Part::kHead;
  // With the answer that says so, the connection may have ended before.
  if (open_.empty() || open_.back().sent) return;
  open_.back().sent = true;
  FinishFront();
}

int HttpExchange::RefuseRequest(int status, HeadError why) {
  discards_ = true;
  // In the middle of a request, of which a part has been sent.
  if (request_part_ == Part::kHead) {
    Open& open = open_.emplace_back();
    open.start = std::chrono::steady_clock::now();
    open.record.start_unix_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                                    std::chrono::system_clock::now().time_since_epoch())
                                    .count();
    open.sent = true;
  } else if (open_.empty() || open_.back().answered) {
    return EPROTO;
  }
  SetOwn(open_.back(),
         {.status = status, .flags = "DPE", .details = why, .body = std::string(Reason(status))});
  return 0;
}

void HttpExchange::RequestEnds(std::uint64_t unpassed, std::string& out) {
  if (mode_ == Mode::kDetecting) {
    mode_ = Mode::kOpaque;
    if (!refuses_) out.append(held_, std::exchange(released_, 0));
    held_.clear();
    return;
  }
  if (mode_ != Mode::kHttp || open_.empty()) return;
  if (RequestPasses()) {
    open_.back().record.request_bytes -= unpassed;
    if (request_part_ == Part::kLength && unpassed == 0) RequestSent();
  }
  // A head that is not complete goes no further. The end of the stream does, and the server sees
  // that a body is not whole.
  request_part_ = Part::kHead;
}

// Of the destination.

bool HttpExchange::ResponseHasWork() const {
  if (ends_ || mode_ == Mode::kOpaque || mode_ == Mode::kTunnel) return true;
  return mode_ == Mode::kHttp && (response_part_ == Part::kLength || OwnIsDue());
}

void HttpExchange::SendOwn(std::string& out) {
  Open& open = open_.front();
  out += open.own;
  open.answered = open.complete = true;
  EndBehindThis();
  FinishFront();
}

HttpExchange::Step HttpExchange::ConsumeResponse(std::string_view bytes, std::string& out) {
  Step step;
  if (response_part_ == Part::kLength) AnswerComplete();
  if (response_part_ == Part::kChunkData) response_part_ = Part::kChunked;
  while (step.used < bytes.size() && step.passes == 0) {
    const std::string_view rest = bytes.substr(step.used);
    if (response_part_ == Part::kChunked) {
      const ChunkReader::Step chunk = response_chunks_.Feed(rest, out);
      step.used += chunk.used;
      if (chunk.error != nullptr) {
        step.error = EPROTO;
        return step;
      }
      if (chunk.done) AnswerComplete();
      if (chunk.data > 0) {
        open_.front().record.response_bytes += chunk.data;
        response_part_ = Part::kChunkData;
        step.passes = chunk.data;
      }
      continue;
    }
    // An answer to nothing would be taken for that to the next request.
    if (open_.empty() || open_.front().complete) EndBehindThis();
    if (ends_ || OwnIsDue()) {
      step.used = bytes.size();
      break;
    }
    std::size_t used = 0;
    const HeadScanner::Status status = response_scanner_.Feed(rest, used);
    if (status == HeadScanner::Status::kBad || status == HeadScanner::Status::kTooLong) {
      RefuseResponse(status == HeadScanner::Status::kBad ? "a line that does not end with CRLF"
                                                         : "a head that is too large");
      continue;
    }
    step.used += used;
    if (status == HeadScanner::Status::kMore || !response_head_.empty()) {
      response_head_.append(rest.substr(0, used));
    }
    if (status == HeadScanner::Status::kMore) break;
    const std::string text = std::exchange(response_head_, {});
    response_scanner_ = {};
    step.passes = OnResponseHead(text.empty() ? rest.substr(0, used) : std::string_view(text),
                                 rest.size() - used, out);
  }
  return step;
}

void HttpExchange::RefuseResponse(HeadError why) {
  discards_ = true;
  SetOwn(open_.front(), {.status = 502,
                         .flags = "UPE",
                         .details = why,
                         .body = "upstream connect error or disconnect/reset before headers. reset "
                                 "reason: protocol error"});
}

std::uint64_t HttpExchange::BeginTunnel(std::uint64_t following) {
  mode_ = Mode::kTunnel;
  tunnel_asked_ = false;
  // They were read before the start of the tunnel is noted.
  open_.front().record.request_bytes += held_.size();
  open_.front().record.response_bytes += following;
  return Stage::kTheRest;
}

std::uint64_t HttpExchange::OnResponseHead(std::string_view text, std::size_t following,
                                           std::string& out) {
  Open& open = open_.front();
  ResponseHead head;
  const HeadError error = ParseResponseHead(text, open.to_head, head);
  if (error != nullptr || (head.status == 101 && !open.asks_for_upgrade)) {
    RefuseResponse(error != nullptr ? error : "101 that nobody has asked for");
    return 0;
  }
  if (head.status < 200 && head.status != 101) {
    out += text;
    return 0;
  }
  const bool tunnels = head.status == 101 || (open.is_connect && head.status < 300);
  // An answer may come before all of its request has been sent, but not before the next one's.
  const bool is_last = open_.size() == 1;
  closes_behind_ = draining_ && is_last && !tunnels;
  open.answered = true;
  open.record.status = head.status;
  open.record.details = "via_upstream";
  open.record.service_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                               std::chrono::steady_clock::now() - open.start)
                               .count();
  WriteResponseHead(head, rules_, static_cast<std::uint64_t>(open.record.service_ms),
                    closes_behind_, out);
  if (tunnels) return BeginTunnel(following);
  if (open.asks_for_upgrade || open.is_connect) tunnel_asked_ = false;
  switch (head.body.kind) {
    case BodyKind::kNone:
      AnswerComplete();
      return 0;
    case BodyKind::kLength:
      response_part_ = Part::kLength;
      open.record.response_bytes = head.body.length;
      return head.body.length;
    case BodyKind::kChunked:
      response_part_ = Part::kChunked;
      response_chunks_ = ChunkReader(true);
      return 0;
    case BodyKind::kUntilClose:
      break;
  }
  response_part_ = Part::kUntilClose;
  open.record.response_bytes = kUntilTheEnd;
  return kUntilTheEnd;
}

void HttpExchange::AnswerComplete() {
  response_part_ = Part::kHead;
  Open& open = open_.front();
  open.complete = true;
  if (closes_behind_) EndBehindThis();
  FinishFront();
}

int HttpExchange::ResponseEnds(std::uint64_t unpassed, std::string& out) {
  if (mode_ != Mode::kHttp || ends_ || open_.empty()) return 0;
  HttpRecord& record = open_.front().record;
  switch (response_part_) {
    case Part::kUntilClose:
      record.response_bytes -= unpassed;
      AnswerComplete();
      return 0;
    case Part::kLength:
    case Part::kChunkData:
    case Part::kChunked:
      record.response_bytes -= unpassed;
      if (response_part_ == Part::kLength && unpassed == 0) {
        AnswerComplete();
        break;
      }
      record.flags = "UC";
      record.details = "upstream_reset_after_response_started";
      open_.front().complete = true;
      return ECONNRESET;
    case Part::kHead:
      break;
  }
  if (open_.empty() || open_.front().complete) return 0;
  if (!open_.front().is_own) {
    SetOwn(open_.front(),
           {.status = 503,
            .flags = "UC",
            .details = "upstream_reset_before_response_started{connection_termination}",
            .body = "upstream connect error or disconnect/reset before headers. reset reason: "
                    "connection termination"});
  }
  SendOwn(out);
  return 0;
}

// The two stages.

class HttpRequestStage final : public Stage {
 public:
  explicit HttpRequestStage(HttpExchange& exchange) : exchange_(exchange) {}

  Answer Put(std::span<const char> bytes, std::string& out) override {
    HttpExchange& exchange = exchange_;
    using Mode = HttpExchange::Mode;
    if (exchange.mode_ == Mode::kHttp && exchange.held_.empty()) {
      const HttpExchange::Step step = exchange.ConsumeRequest(View(bytes), out);
      if (step.error != 0) return {.error = step.error};
      if (step.passes > 0 || step.used == bytes.size()) {
        return {.taken = step.used, .passes = step.passes};
      }
      // It waits.
      exchange.held_ = View(bytes.subspan(step.used));
      return {.taken = bytes.size()};
    }
    exchange.held_ += View(bytes);
    HttpExchange::Step step;
    if (exchange.mode_ == Mode::kDetecting) {
      step = exchange.Detect(out);
    } else if (exchange.RequestHasWork()) {
      step = exchange.TakeHeld(out);
    }
    return {.taken = bytes.size(), .passes = step.passes, .error = step.error};
  }
  int End(std::uint64_t unpassed, std::string& out) override {
    exchange_.RequestEnds(unpassed, out);
    return 0;
  }
  bool Waits() const override { return exchange_.RequestWaits(); }
  bool HasWork() const override { return exchange_.RequestHasWork(); }
  Resumed Resume(std::string& out) override {
    if (exchange_.mode_ == HttpExchange::Mode::kDetecting) {
      exchange_.releases_ = false;
      out.append(exchange_.held_, exchange_.released_);
      exchange_.released_ = exchange_.held_.size();
      return {};
    }
    if (exchange_.request_part_ == HttpExchange::Part::kLength) exchange_.RequestSent();
    const HttpExchange::Step step = exchange_.TakeHeld(out);
    return {.passes = step.passes, .error = step.error};
  }

 private:
  HttpExchange& exchange_;
};

class HttpResponseStage final : public Stage {
 public:
  explicit HttpResponseStage(HttpExchange& exchange) : exchange_(exchange) {}

  Answer Put(std::span<const char> bytes, std::string& out) override {
    using Mode = HttpExchange::Mode;
    // Whoever speaks before the client has asked does not speak HTTP/1.
    if (exchange_.mode_ == Mode::kDetecting) exchange_.mode_ = Mode::kOpaque;
    if (exchange_.mode_ != Mode::kHttp) return {.passes = kTheRest};
    const HttpExchange::Step step = exchange_.ConsumeResponse(View(bytes), out);
    return {.taken = step.used, .passes = step.passes, .error = step.error};
  }
  int End(std::uint64_t unpassed, std::string& out) override {
    return exchange_.ResponseEnds(unpassed, out);
  }
  bool HasWork() const override { return exchange_.ResponseHasWork(); }
  Resumed Resume(std::string& out) override {
    using Mode = HttpExchange::Mode;
    if (exchange_.mode_ == Mode::kOpaque || exchange_.mode_ == Mode::kTunnel) {
      return {.passes = kTheRest};
    }
    if (exchange_.response_part_ == HttpExchange::Part::kLength) exchange_.AnswerComplete();
    if (!exchange_.ends_ && exchange_.OwnIsDue()) exchange_.SendOwn(out);
    return {.ends = exchange_.ends_};
  }

 private:
  HttpExchange& exchange_;
};

std::unique_ptr<Stage> HttpExchange::RequestStage() {
  return std::make_unique<HttpRequestStage>(*this);
}

std::unique_ptr<Stage> HttpExchange::ResponseStage() {
  return std::make_unique<HttpResponseStage>(*this);
}

}  // namespace sluice::proxy
