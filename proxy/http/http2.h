// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/http/record.h"

struct nghttp2_hd_inflater;

namespace sluice::proxy {

// Whether a stream begins like HTTP/2 of a server: with SETTINGS (RFC 9113, section 3.4). Needs the
// nine bytes of a frame's head.
bool BeginsWithSettings(std::string_view bytes);

// Reads the requests and responses of a connection that speaks HTTP/2 (RFC 9113), for the access
// log and the metrics. It sees the bytes of both directions as they pass; it holds and changes none
// of them, so what it does not understand is not its matter: it gives up. Throws nothing but
// std::bad_alloc. Used by one thread.
class Http2Reader {
 public:
  // So many requests are followed at once. Others pass without a record; servers allow from 100 to
  // 1,000.
  static constexpr std::size_t kMaxStreams = 1024;
  // What an encoder may keep of header fields, for each direction. Browsers use 65,536, others
  // 4,096.
  static constexpr std::size_t kMaxTableBytes = 65'536;

  // Appends to `records` what is over.
  explicit Http2Reader(std::vector<HttpRecord>& records) : records_(records) {}
  Http2Reader(const Http2Reader&) = delete;
  Http2Reader& operator=(const Http2Reader&) = delete;
  ~Http2Reader();

  // The next bytes of a direction, from its first one. False: they are not HTTP/2, or use a larger
  // table; nothing can be read any more, in either direction.
  bool FromClient(std::string_view bytes);
  bool FromServer(std::string_view bytes);

  // The connection ends: makes records of what is open, with these flags unless its response is
  // complete.
  void Close(std::string_view flags);

  // There has been a request.
  bool has_requests() const { return last_stream_ > 0; }

 private:
  struct FreeInflater {
    void operator()(nghttp2_hd_inflater* inflater) const;
  };

  // What is read of one block of fields.
  struct Fields {
    std::string method;
    std::string path;
    std::string authority;
    std::string user_agent;
    std::string request_id;
    std::string forwarded_for;
    int status = 0;
    int grpc_status = -1;
    bool is_grpc = false;
  };

  // One direction: where in its frames it is.
  struct Side {
    std::unique_ptr<nghttp2_hd_inflater, FreeInflater> inflater;
    std::size_t preface_bytes = 0;  // of the client's preface, still to come
    std::array<std::uint8_t, 9> head{};
    std::size_t head_bytes = 0;
    bool begun = false;  // with SETTINGS
    std::uint8_t type = 0;
    std::uint8_t flags = 0;
    std::uint32_t stream = 0;
    std::size_t left = 0;  // of the payload
    // Fields of fixed size at the front of some payloads, and padding behind others.
    std::array<std::uint8_t, 6> fixed{};
    std::size_t fixed_bytes = 0;
    std::size_t fixed_wanted = 0;
    std::size_t padding = 0;
    // A block of fields goes on in the next frame, which must be CONTINUATION.
    bool in_block = false;
    std::uint32_t block_stream = 0;
    bool block_is_promise = false;
    bool block_ends_stream = false;
    Fields fields;
  };

  struct Stream {
    HttpRecord record;
    std::chrono::steady_clock::time_point start;
    bool sent = false;      // all of the request
    bool answered = false;  // the head of the response has come
    bool complete = false;  // all of the response
  };
  using Streams = std::map<std::uint32_t, Stream>;

  bool Feed(Side& side, std::string_view bytes);
  bool BeginFrame(Side& side);
  bool ReadPayload(Side& side, std::string_view bytes);
  bool EndFrame(Side& side);
  bool Inflate(Side& side, std::string_view bytes, bool is_last);
  static void OnField(Fields& fields, std::string_view name, std::string_view value);
  void OnBlock(Side& side);
  void OnRequest(std::uint32_t id, Fields fields, bool ends);
  static void OnResponse(Stream& stream, const Fields& fields);
  void EndOfStream(const Side& side, std::uint32_t id);
  void Reset(const Side& side, std::uint32_t id, std::uint32_t code);
  void FinishIfOver(Streams::iterator at);
  void Finish(Stream& stream);
  bool IsClient(const Side& side) const { return &side == &client_; }

  std::vector<HttpRecord>& records_;
  Side client_;
  Side server_;
  Streams streams_;
  std::uint32_t last_stream_ = 0;
};

}  // namespace sluice::proxy
