// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/config.h"
#include "proxy/http/chunks.h"
#include "proxy/http/head.h"
#include "proxy/http/http_config.h"
#include "proxy/http/ids.h"
#include "proxy/http/rewrite.h"
#include "proxy/relay/stage.h"

namespace sluice::proxy {

// A request that is over, for the access log and the metrics. "" and 0: not known.
struct HttpRecord {
  std::string method;
  std::string path;  // with the query; cut as the access log wants it
  std::string authority;
  std::string user_agent;
  std::string request_id;
  std::string forwarded_for;
  std::string_view protocol;
  int status = 0;
  std::uint64_t request_bytes = 0;  // of the body, without the sizes of chunks
  std::uint64_t response_bytes = 0;
  std::int64_t start_unix_ms = 0;
  std::chrono::nanoseconds duration{0};
  std::int64_t service_ms = -1;  // until the head of the answer; -1: there was none
  std::string_view flags;        // as Envoy has them: "UC"
  std::string_view details;      // "via_upstream"
};

// Why the proxy answers instead of the destination.
struct OwnAnswer {
  int status = 503;
  std::string_view flags = {};
  std::string_view details = {};
  std::string body = {};
};
// Envoy's answers when there is no destination to answer. `reason`: as it stands in Envoy's text.
OwnAnswer UpstreamError(std::string_view flags, std::string_view details, std::string_view reason);
// The destination ended the connection before it answered.
OwnAnswer UpstreamGone();

// The requests of one connection and their answers: what the two directions know of one another. It
// passes heads on with the headers of RewriteRules, has the relay move the bodies, matches answers
// with requests, and answers itself when that is the last that can be done. Both stages use it; it
// outlives them. Used by one thread.
class HttpExchange {
 public:
  // So many requests may be under way; more are not read. Clients that pipeline send few.
  static constexpr std::size_t kMaxOpen = 32;

  HttpExchange(RewriteRules rules, IdSource& ids) : rules_(std::move(rules)), ids_(ids) {}
  HttpExchange(const HttpExchange&) = delete;
  HttpExchange& operator=(const HttpExchange&) = delete;

  // One for each direction, once.
  std::unique_ptr<Stage> RequestStage();
  std::unique_ptr<Stage> ResponseStage();

  // There has been a request, with a record of its own; refused ones have one, too.
  bool has_records() const { return made_ > 0 || !open_.empty(); }
  // Over and not yet taken by the owner, who clears it.
  std::vector<HttpRecord>& records() { return records_; }
  // Bytes are held of which it is not known whether they are HTTP.
  bool HoldsUndecided() const { return mode_ == Mode::kDetecting && held_.size() > released_; }
  // Sends them: whoever waits for an answer to them gets it. What comes then is still looked at.
  void ReleaseUndecided() { releases_ = mode_ == Mode::kDetecting; }
  // The answer that is due has not begun to pass.
  bool AwaitsAnswer() const {
    return mode_ == Mode::kHttp && !open_.empty() && !open_.front().answered;
  }
  // The destination has failed: the request that waits, or the next one, is answered by the proxy,
  // and then the connection ends. Only while AwaitsAnswer, or before there was a request.
  void Refuse(OwnAnswer answer);
  // The destination is of no use any more: what is still to come is the proxy's.
  bool has_done_with_server() const { return done_with_server_; }
  // The rest of a request goes nowhere: so many bytes of its body that were let pass have not come.
  void CutRequest(std::uint64_t unpassed);
  // No further answer will follow: the next one says so, and the connection ends behind it.
  void Drain() { draining_ = true; }
  // The connection ends: makes records of what is open, with these flags where an answer is not
  // complete. So many bytes of the bodies that were let pass have not come.
  void Close(std::uint64_t request_unpassed, std::uint64_t response_unpassed,
             std::string_view flags);
  // What was found instead of HTTP/1, to be counted: none of it is twice.
  bool is_http2() const { return is_http2_; }
  bool is_tunnel() const { return mode_ == Mode::kTunnel; }
  // How much had been read of both directions when the tunnel was found, in this turn or before,
  // and how much at its end.
  void SetTunnelStart(std::uint64_t from_client, std::uint64_t from_server);
  void SetTunnelEnd(std::uint64_t from_client, std::uint64_t from_server);
  // Something is open that will be a record.
  bool HasOpen() const { return !open_.empty(); }

 private:
  friend class HttpRequestStage;
  friend class HttpResponseStage;
  enum class Mode : std::uint8_t {
    kDetecting,
    kHttp,
    kOpaque,  // something else
    kTunnel,  // after an Upgrade or CONNECT
  };
  enum class Part : std::uint8_t { kHead, kLength, kUntilClose, kChunked, kChunkData };

  struct Open {
    HttpRecord record;
    std::chrono::steady_clock::time_point start;
    bool to_head = false;
    bool asks_for_upgrade = false;
    bool is_connect = false;
    bool sent = false;      // all of the request
    bool answered = false;  // the answer's head has passed
    bool complete = false;  // all of the answer
    bool is_own = false;    // answered with `own`
    std::string own;
  };

  // How far a step has come with the bytes it was given.
  struct Consumed {
    std::size_t used = 0;
    std::uint64_t passes = 0;
    int error = 0;
  };

  Consumed ConsumeRequest(std::string_view bytes, std::string& out);
  Consumed Detect(std::string& out);
  void OnRequestHead(std::string_view text, std::size_t leading, std::string& out);
  Open& BeginRequest(const RequestHead& head);
  void RequestSent();
  // 0, or an errno when it is too late for an answer.
  int RefuseRequest(int status, HeadError why);
  bool RequestWaits() const;
  bool RequestHasWork() const;
  Consumed TakeHeld(std::string& out);
  void RequestEnds(std::uint64_t unpassed, std::string& out);

  Consumed ConsumeResponse(std::string_view bytes, std::string& out);
  std::uint64_t OnResponseHead(std::string_view text, std::size_t following, std::string& out);
  std::uint64_t BeginTunnel(std::uint64_t following);
  void AnswerComplete();
  void RefuseResponse(HeadError why);
  bool ResponseHasWork() const;
  bool OwnIsDue() const {
    return response_part_ == Part::kHead && !open_.empty() && open_.front().is_own &&
           !open_.front().complete;
  }
  void SendOwn(std::string& out);
  int ResponseEnds(std::uint64_t unpassed, std::string& out);

  // A request that is open from now on.
  Open& OpenNow();
  // The connection ends with this answer to `open`.
  void EndWith(Open& open, OwnAnswer answer);
  void EndBehindThis();
  // Bytes of the last request's body are passing.
  bool RequestPasses() const {
    return request_part_ == Part::kLength || request_part_ == Part::kChunkData;
  }
  // The oldest request, when it is over and all is known of it.
  void FinishFront();
  void Finish(Open& open);

  const RewriteRules rules_;
  IdSource& ids_;
  Mode mode_ = Mode::kDetecting;
  bool is_http2_ = false;
  bool draining_ = false;
  bool releases_ = false;
  bool ends_ = false;      // the stream of answers, now
  bool discards_ = false;  // what the client still sends is read and dropped
  bool done_with_server_ = false;
  bool refuses_ = false;  // with refusal_, as soon as there is a request
  Part request_part_ = Part::kHead;
  Part response_part_ = Part::kHead;
  bool closes_behind_ = false;  // the answer that passes has said so
  bool tunnel_asked_ = false;   // the last request; what comes behind it waits for its answer
  HeadScanner request_scanner_;
  HeadScanner response_scanner_;
  ChunkReader request_chunks_;
  ChunkReader response_chunks_{true};
  std::size_t released_ = 0;  // bytes of the first head that were sent before it was complete
  std::string held_;          // of the client, not looked at, or not decided
  std::string request_head_;  // so far, as far as it came in pieces
  std::string response_head_;
  std::deque<Open> open_;
  std::vector<HttpRecord> records_;
  std::uint64_t made_ = 0;  // records
  std::uint64_t tunnel_request_start_ = 0;
  std::uint64_t tunnel_response_start_ = 0;
  OwnAnswer refusal_;
};

// "Bad Gateway", of a status that the proxy itself answers with.
std::string_view ReasonPhrase(int status);

// The answer as it is sent; the connection ends behind it. No body `to_head`.
std::string OwnAnswerText(const OwnAnswer& answer, Direction direction, bool to_head);

}  // namespace sluice::proxy
