// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// What an exchange does with the client's bytes.
#include <algorithm>
#include <cerrno>
#include <span>
#include <utility>

#include "proxy/http/exchange.h"
#include "proxy/sniff/sniff.h"

namespace sluice::proxy {
namespace {

std::string Cut(std::string_view text, std::size_t most) {
  return std::string(text.substr(0, most));
}

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
    case Mode::kHttp2:
      return false;
    case Mode::kOpaque:
    case Mode::kTunnel:
      break;
  }
  return true;
}

HttpExchange::Consumed HttpExchange::Detect(std::string& out) {
  switch (GuessProtocol(held_)) {
    case HttpGuess::kUndecided:
      return {};
    case HttpGuess::kHttp1:
      // Unless the server has greeted like one of HTTP/2.
      mode_ = http2_ ? Mode::kOpaque : Mode::kHttp;
      break;
    case HttpGuess::kPreface:
      is_http2_ = true;
      mode_ = Mode::kHttp2;
      break;
    case HttpGuess::kOther:
      mode_ = Mode::kOpaque;
      break;
  }
  if (refuses_ && mode_ != Mode::kHttp) return {.error = ECONNREFUSED};
  return TakeHeld(out);
}

void HttpExchange::DetectServer(std::string_view bytes) {
  // Some servers of HTTP/2 do not wait for the client. Nobody who speaks HTTP/1 does.
  if (!http2_ && !BeginsWithSettings(bytes)) mode_ = Mode::kOpaque;
}

std::uint64_t HttpExchange::ReadHttp2(bool from_client, std::string_view bytes) {
  if (!http2_) http2_ = std::make_unique<Http2Reader>(records_);
  if (from_client ? http2_->FromClient(bytes) : http2_->FromServer(bytes)) return 0;
  // What is known of the requests that are open is all that will be.
  http2_->Close({});
  mode_ = Mode::kOpaque;
  return Stage::kTheRest;
}

// The held bytes are all there are.
HttpExchange::Consumed HttpExchange::TakeHeld(std::string& out) {
  if (mode_ == Mode::kOpaque || mode_ == Mode::kTunnel) {
    out.append(held_, std::exchange(released_, 0));
    held_.clear();
    return {.passes = Stage::kTheRest};
  }
  if (mode_ == Mode::kHttp2) {
    out.append(held_, std::exchange(released_, 0));
    return {.passes = ReadHttp2(true, std::exchange(held_, {}))};
  }
  const std::string held = std::exchange(held_, {});
  std::string_view rest = held;
  Consumed step;
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

HttpExchange::Consumed HttpExchange::ConsumeRequest(std::string_view bytes, std::string& out) {
  Consumed step;
  // The bytes that were let through have come.
  if (request_part_ == Part::kLength) RequestSent();
  if (request_part_ == Part::kChunkData) request_part_ = Part::kChunked;
  while (step.used < bytes.size() && step.passes == 0) {
    if (discards_) {
      step.used = bytes.size();
      break;
    }
    const std::string_view rest = bytes.substr(step.used);
    if (request_part_ == Part::kChunked) {
      const ChunkReader::Piece chunk = request_chunks_.Feed(rest, out);
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
    EndWith(open, std::move(refusal_));
    return;
  }
  const std::size_t begin = out.size();
  WriteRequestHead(head, rules_, ids_, out, open.record.request_id);
  // The released part of the first line has been sent as it came.
  const std::size_t released = std::exchange(released_, 0);
  if (released > leading) out.erase(begin, released - leading);
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
  Open& open = OpenNow();
  open.to_head = head.method == "HEAD";
  open.asks_for_upgrade = head.asks_for_upgrade;
  open.is_connect = head.is_connect();
  HttpRecord& record = open.record;
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
  // The connection may have ended before, after a last response.
  if (open_.empty() || open_.back().sent) return;
  open_.back().sent = true;
  FinishFront();
}

int HttpExchange::RefuseRequest(int status, HeadError why) {
  discards_ = true;
  // In the middle of a request, part of which has been sent, only an open one can be answered.
  if (request_part_ == Part::kHead) {
    OpenNow().sent = true;
  } else if (open_.empty() || open_.back().answered) {
    return EPROTO;
  }
  EndWith(open_.back(), {.status = status,
                         .flags = "DPE",
                         .details = why,
                         .body = std::string(ReasonPhrase(status))});
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
  // An incomplete head is not passed on. The end of the stream is, so the server sees an incomplete
  // body.
  request_part_ = Part::kHead;
}

class HttpRequestStage final : public Stage {
 public:
  explicit HttpRequestStage(HttpExchange& exchange) : exchange_(exchange) {}

  Answer Put(std::span<const char> bytes, std::string& out) override {
    HttpExchange& exchange = exchange_;
    const std::string_view text(bytes.data(), bytes.size());
    using Mode = HttpExchange::Mode;
    if (exchange.mode_ == Mode::kHttp && exchange.held_.empty()) {
      const HttpExchange::Consumed step = exchange.ConsumeRequest(text, out);
      if (step.error != 0) return {.error = step.error};
      if (step.passes > 0 || step.used == bytes.size()) {
        return {.taken = step.used, .passes = step.passes};
      }
      // It has to wait.
      exchange.held_ = text.substr(step.used);
      return {.taken = bytes.size()};
    }
    if (exchange.mode_ == Mode::kHttp2) {
      out += text;
      return {.taken = bytes.size(), .passes = exchange.ReadHttp2(true, text)};
    }
    exchange.held_ += text;
    HttpExchange::Consumed step;
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
    const HttpExchange::Consumed step = exchange_.TakeHeld(out);
    return {.passes = step.passes, .error = step.error};
  }

 private:
  HttpExchange& exchange_;
};

std::unique_ptr<Stage> HttpExchange::RequestStage() {
  return std::make_unique<HttpRequestStage>(*this);
}

}  // namespace sluice::proxy
