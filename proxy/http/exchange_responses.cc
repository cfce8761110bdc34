// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// What an exchange does with the destination's bytes.
#include <cerrno>
#include <span>
#include <utility>

#include "proxy/http/exchange.h"

namespace sluice::proxy {
namespace {

// The length of a body that ends with the connection: more than will ever come, but less than
// Stage::kTheRest, which would remove the stage.
constexpr std::uint64_t kUntilTheEnd = Stage::kTheRest / 2;

}  // namespace

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

HttpExchange::Consumed HttpExchange::ConsumeResponse(std::string_view bytes, std::string& out) {
  Consumed step;
  if (response_part_ == Part::kLength) AnswerComplete();
  if (response_part_ == Part::kChunkData) response_part_ = Part::kChunked;
  while (step.used < bytes.size() && step.passes == 0) {
    const std::string_view rest = bytes.substr(step.used);
    if (response_part_ == Part::kChunked) {
      const ChunkReader::Piece chunk = response_chunks_.Feed(rest, out);
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
    // A response without a request would be taken for the next one's.
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
  OwnAnswer answer = UpstreamError("UPE", why, "protocol error");
  answer.status = 502;
  EndWith(open_.front(), std::move(answer));
}

std::uint64_t HttpExchange::BeginTunnel(std::uint64_t following) {
  mode_ = Mode::kTunnel;
  tunnel_asked_ = false;
  // These were read before SetTunnelStart.
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
    RefuseResponse(error != nullptr ? error : "a 101 that was not asked for");
    return 0;
  }
  if (head.status < 200 && head.status != 101) {
    out += text;
    return 0;
  }
  const bool tunnels = head.status == 101 || (open.is_connect && head.status < 300);
  // A response may come before its request was sent completely, but only to the last one.
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
  if (!open_.front().is_own) EndWith(open_.front(), UpstreamGone());
  SendOwn(out);
  return 0;
}

class HttpResponseStage final : public Stage {
 public:
  explicit HttpResponseStage(HttpExchange& exchange) : exchange_(exchange) {}

  Answer Put(std::span<const char> bytes, std::string& out) override {
    using Mode = HttpExchange::Mode;
    const std::string_view text(bytes.data(), bytes.size());
    if (exchange_.mode_ == Mode::kDetecting) exchange_.DetectServer(text);
    if (exchange_.mode_ == Mode::kDetecting || exchange_.mode_ == Mode::kHttp2) {
      out += text;
      return {.taken = bytes.size(), .passes = exchange_.ReadHttp2(false, text)};
    }
    if (exchange_.mode_ != Mode::kHttp) return {.passes = kTheRest};
    const HttpExchange::Consumed step = exchange_.ConsumeResponse(text, out);
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

std::unique_ptr<Stage> HttpExchange::ResponseStage() {
  return std::make_unique<HttpResponseStage>(*this);
}

}  // namespace sluice::proxy
