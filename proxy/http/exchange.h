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
#include "proxy/http/http2.h"
#include "proxy/http/http_config.h"
#include "proxy/http/ids.h"
#include "proxy/http/record.h"
#include "proxy/http/rewrite.h"
#include "proxy/relay/stage.h"

namespace sluice::proxy {

// A response of the proxy, sent instead of the destination's.
struct OwnAnswer {
  int status = 503;
  std::string_view flags = {};
  std::string_view details = {};
  std::string body = {};
};
// Envoy's response if the destination cannot answer. `reason`: the end of Envoy's text.
OwnAnswer UpstreamError(std::string_view flags, std::string_view details, std::string_view reason);
// The destination ended the connection before it answered.
OwnAnswer UpstreamGone();

// The requests and responses of one connection. It passes heads on with the headers of
// RewriteRules, lets the relay move the bodies, matches responses with requests, and answers itself
// if the destination cannot. Both stages use it, and it outlives them. Used by one thread.
class HttpExchange {
 public:
  // The most requests under way; further ones are not read yet. Clients that pipeline send few.
  static constexpr std::size_t kMaxOpen = 32;

  HttpExchange(RewriteRules rules, IdSource& ids) : rules_(std::move(rules)), ids_(ids) {}
  HttpExchange(const HttpExchange&) = delete;
  HttpExchange& operator=(const HttpExchange&) = delete;

  // The stages of the two directions. Call each once.
  std::unique_ptr<Stage> RequestStage();
  std::unique_ptr<Stage> ResponseStage();

  // Whether there has been a request. Refused ones count: they have a record, too.
  bool has_records() const {
    return made_ > 0 || !open_.empty() || (http2_ && http2_->has_requests());
  }
  // Records of finished requests. The owner takes them and clears this.
  std::vector<HttpRecord>& records() { return records_; }
  // Whether bytes are held that may or may not be HTTP.
  bool HoldsUndecided() const { return mode_ == Mode::kDetecting && held_.size() > released_; }
  // Sends them, since the client may be waiting for a response to them. Later bytes are still
  // inspected.
  void ReleaseUndecided() { releases_ = mode_ == Mode::kDetecting; }
  // Whether a response is due of which nothing has been passed on.
  bool AwaitsAnswer() const {
    return mode_ == Mode::kHttp && !open_.empty() && !open_.front().answered;
  }
  // The destination has failed: the proxy answers the waiting request, or the next one, and then
  // ends the connection. Only while AwaitsAnswer, or before the first request.
  void Refuse(OwnAnswer answer);
  // The destination is no longer needed: the proxy sends the rest.
  bool has_done_with_server() const { return done_with_server_; }
  // The rest of a request is dropped. `unpassed`: the bytes of its body that were let through but
  // have not come.
  void CutRequest(std::uint64_t unpassed);
  // The next response is the last: it says so, and the connection ends after it.
  void Drain() { draining_ = true; }
  // The connection ends: makes records of open requests, with these flags if the response is not
  // complete. The other arguments: bytes of bodies that were let through but have not come.
  void Close(std::uint64_t request_unpassed, std::uint64_t response_unpassed,
             std::string_view flags);
  // What was found besides HTTP/1, to be counted.
  bool is_http2() const { return is_http2_; }
  bool is_tunnel() const { return mode_ == Mode::kTunnel; }
  // How many bytes of both directions had been read when the tunnel began, and at its end.
  void SetTunnelStart(std::uint64_t from_client, std::uint64_t from_server);
  void SetTunnelEnd(std::uint64_t from_client, std::uint64_t from_server);
  // Whether a request is open, which will be a record.
  bool HasOpen() const { return !open_.empty(); }

 private:
  friend class HttpRequestStage;
  friend class HttpResponseStage;
  enum class Mode : std::uint8_t {
    kDetecting,
    kHttp,
    kHttp2,   // read, not changed
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

  // What was done with the bytes that were given.
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
  // 0, or an errno if it is too late for a response.
  int RefuseRequest(int status, HeadError why);
  bool RequestWaits() const;
  bool RequestHasWork() const;
  Consumed TakeHeld(std::string& out);
  // What the server says before it is known what the client speaks.
  void DetectServer(std::string_view bytes);
  // What passes behind them, as in Stage::Answer.
  std::uint64_t ReadHttp2(bool from_client, std::string_view bytes);
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
  // Whether bytes of the last request's body are being passed on.
  bool RequestPasses() const {
    return request_part_ == Part::kLength || request_part_ == Part::kChunkData;
  }
  // Finishes the oldest request if it is complete.
  void FinishFront();
  void Finish(Open& open);

  const RewriteRules rules_;
  IdSource& ids_;
  Mode mode_ = Mode::kDetecting;
  bool is_http2_ = false;
  bool draining_ = false;
  bool releases_ = false;
  bool ends_ = false;      // the stream of responses ends now
  bool discards_ = false;  // further bytes of the client are read and dropped
  bool done_with_server_ = false;
  bool refuses_ = false;  // answer the next request with refusal_
  Part request_part_ = Part::kHead;
  Part response_part_ = Part::kHead;
  bool closes_behind_ = false;  // the response that is passing has said so
  bool tunnel_asked_ = false;   // by the last request; later bytes wait for its response
  HeadScanner request_scanner_;
  HeadScanner response_scanner_;
  ChunkReader request_chunks_;
  ChunkReader response_chunks_{true};
  std::size_t released_ = 0;  // bytes of the first head that were sent before it was complete
  std::string held_;          // bytes of the client that were not read or not decided on
  std::string request_head_;  // the beginning, if it came in pieces
  std::string response_head_;
  std::deque<Open> open_;
  std::vector<HttpRecord> records_;
  std::unique_ptr<Http2Reader> http2_;  // null: neither side has spoken HTTP/2
  std::uint64_t made_ = 0;              // records
  std::uint64_t tunnel_request_start_ = 0;
  std::uint64_t tunnel_response_start_ = 0;
  OwnAnswer refusal_;
};

// "Bad Gateway", of a status that the proxy itself answers with.
std::string_view ReasonPhrase(int status);

// The text of a response after which the connection ends. Without the body if `to_head`.
std::string OwnAnswerText(const OwnAnswer& answer, Direction direction, bool to_head);

}  // namespace sluice::proxy
