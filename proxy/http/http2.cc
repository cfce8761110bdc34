// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/http/http2.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <charconv>
#include <new>
#include <utility>

#include "proxy/http/head.h"
#include "proxy/sniff/sniff.h"

namespace sluice::proxy {
namespace {

// RFC 9113, section 6.
enum FrameType : std::uint8_t {
  kData = 0,
  kHeaders = 1,
  kResetStream = 3,
  kSettings = 4,
  kPushPromise = 5,
  kContinuation = 9,
};
constexpr std::uint8_t kEndStream = 0x1;
constexpr std::uint8_t kEndHeaders = 0x4;
constexpr std::uint8_t kPadded = 0x8;
constexpr std::uint8_t kPriority = 0x20;
constexpr std::uint32_t kNoError = 0;

std::uint32_t Number(const std::uint8_t* bytes, std::size_t size) {
  std::uint32_t number = 0;
  for (std::size_t i = 0; i < size; ++i) number = number << 8 | bytes[i];
  return number;
}

// Fills `into` up to `wanted` from the front of `bytes`; `have` counts. Whether it is full.
template <std::size_t kSize>
bool Fill(std::array<std::uint8_t, kSize>& into, std::size_t& have, std::size_t wanted,
          std::string_view& bytes) {
  const std::size_t size = std::min(wanted - have, bytes.size());
  std::copy_n(bytes.begin(), size, into.begin() + static_cast<std::ptrdiff_t>(have));
  have += size;
  bytes.remove_prefix(size);
  return have == wanted;
}

// -1: no number.
int SmallNumber(std::string_view text) {
  int number = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() && number >= 0 ? number : -1;
}

void Keep(std::string& text, std::string_view value, std::size_t most) {
  text = value.substr(0, most);
}

}  // namespace

bool BeginsWithSettings(std::string_view bytes) {
  if (bytes.size() < 9) return false;
  const auto* const head = reinterpret_cast<const std::uint8_t*>(bytes.data());
  return Number(head, 3) % 6 == 0 && head[3] == kSettings && head[4] == 0 &&
         Number(head + 5, 4) == 0;
}

void Http2Reader::FreeInflater::operator()(nghttp2_hd_inflater* inflater) const {
  nghttp2_hd_inflate_del(inflater);
}

Http2Reader::~Http2Reader() = default;

bool Http2Reader::FromClient(std::string_view bytes) { return Feed(client_, bytes); }
bool Http2Reader::FromServer(std::string_view bytes) { return Feed(server_, bytes); }

bool Http2Reader::Feed(Side& side, std::string_view bytes) {
  if (!side.inflater) {
    nghttp2_hd_inflater* inflater = nullptr;
    if (nghttp2_hd_inflate_new(&inflater) != 0) throw std::bad_alloc();
    side.inflater.reset(inflater);
    // Only a limit. The encoder says what it uses of it.
    nghttp2_hd_inflate_change_table_size(inflater, kMaxTableBytes);
    if (IsClient(side)) side.preface_bytes = kHttp2Preface.size();
  }
  while (!bytes.empty()) {
    if (side.preface_bytes > 0) {
      const std::string_view rest = kHttp2Preface.substr(kHttp2Preface.size() - side.preface_bytes);
      const std::size_t size = std::min(rest.size(), bytes.size());
      if (rest.substr(0, size) != bytes.substr(0, size)) return false;
      side.preface_bytes -= size;
      bytes.remove_prefix(size);
      continue;
    }
    if (side.head_bytes < side.head.size()) {
      if (!Fill(side.head, side.head_bytes, side.head.size(), bytes)) break;
      if (!BeginFrame(side)) return false;
    } else {
      const std::size_t size = std::min(side.left, bytes.size());
      side.left -= size;
      if (!ReadPayload(side, bytes.substr(0, size))) return false;
      bytes.remove_prefix(size);
    }
    if (side.left == 0) {
      if (!EndFrame(side)) return false;
      side.head_bytes = 0;
    }
  }
  return true;
}

bool Http2Reader::BeginFrame(Side& side) {
  side.left = Number(side.head.data(), 3);
  side.type = side.head[3];
  side.flags = side.head[4];
  side.stream = Number(side.head.data() + 5, 4) & 0x7fffffff;
  side.fixed_bytes = side.fixed_wanted = side.padding = 0;
  if (!std::exchange(side.begun, true) && side.type != kSettings) return false;
  if (side.in_block != (side.type == kContinuation)) return false;
  if (side.in_block && side.stream != side.block_stream) return false;
  const bool has_padding = (side.flags & kPadded) != 0;
  switch (side.type) {
    case kData:
      side.fixed_wanted = has_padding ? 1 : 0;
      break;
    case kHeaders:
      side.fixed_wanted = (has_padding ? 1U : 0U) + ((side.flags & kPriority) != 0 ? 5U : 0U);
      break;
    case kPushPromise:
      side.fixed_wanted = (has_padding ? 1U : 0U) + 4U;
      break;
    case kResetStream:
      side.fixed_wanted = 4;
      if (side.left != 4) return false;
      break;
    default:
      break;
  }
  if (side.type == kHeaders || side.type == kPushPromise) {
    if (side.type == kPushPromise && IsClient(side)) return false;
    side.in_block = true;
    side.block_stream = side.stream;
    side.block_is_promise = side.type == kPushPromise;
    side.block_ends_stream = side.type == kHeaders && (side.flags & kEndStream) != 0;
    side.fields = {};
  }
  return side.fixed_wanted <= side.left;
}

bool Http2Reader::ReadPayload(Side& side, std::string_view bytes) {
  if (side.fixed_bytes < side.fixed_wanted) {
    if (!Fill(side.fixed, side.fixed_bytes, side.fixed_wanted, bytes)) return true;
    if (side.type == kResetStream) {
      Reset(side, side.stream, Number(side.fixed.data(), 4));
    } else if ((side.flags & kPadded) != 0) {
      side.padding = side.fixed[0];
    }
    // Padding that is longer than what it follows.
    if (side.padding > side.left + bytes.size()) return false;
  }
  // What of these bytes is not padding.
  const std::size_t content =
      side.left + bytes.size() - std::min(side.padding, side.left + bytes.size());
  bytes = bytes.substr(0, content);
  switch (side.type) {
    case kData:
      if (const auto at = streams_.find(side.stream); at != streams_.end()) {
        HttpRecord& record = at->second.record;
        (IsClient(side) ? record.request_bytes : record.response_bytes) += bytes.size();
      }
      return true;
    case kHeaders:
    case kPushPromise:
    case kContinuation:
      return Inflate(side, bytes, false);
    default:
      return true;
  }
}

bool Http2Reader::EndFrame(Side& side) {
  switch (side.type) {
    case kData:
      if ((side.flags & kEndStream) != 0) EndOfStream(side, side.stream);
      return true;
    case kHeaders:
    case kPushPromise:
    case kContinuation:
      if ((side.flags & kEndHeaders) == 0) return true;
      if (!Inflate(side, {}, true)) return false;
      side.in_block = false;
      if (!side.block_is_promise) OnBlock(side);
      return true;
    default:
      return true;
  }
}

bool Http2Reader::Inflate(Side& side, std::string_view bytes, bool is_last) {
  const auto* from = reinterpret_cast<const std::uint8_t*>(bytes.data());
  std::size_t size = bytes.size();
  for (;;) {
    nghttp2_nv field;
    int flags = 0;
    const ssize_t used =
        nghttp2_hd_inflate_hd2(side.inflater.get(), &field, &flags, from, size, is_last ? 1 : 0);
    if (used == NGHTTP2_ERR_NOMEM) throw std::bad_alloc();
    if (used < 0) return false;
    from += used;
    size -= static_cast<std::size_t>(used);
    const bool has_field = (flags & NGHTTP2_HD_INFLATE_EMIT) != 0;
    if (has_field && !side.block_is_promise) {
      OnField(side.fields, {reinterpret_cast<const char*>(field.name), field.namelen},
              {reinterpret_cast<const char*>(field.value), field.valuelen});
    }
    if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) {
      nghttp2_hd_inflate_end_headers(side.inflater.get());
      return true;
    }
    if (!has_field && size == 0) return !is_last;
  }
}

void Http2Reader::OnField(Fields& fields, std::string_view name, std::string_view value) {
  if (name == ":method") {
    Keep(fields.method, value, kMaxMethod);
  } else if (name == ":path") {
    Keep(fields.path, value, kMaxPath);
  } else if (name == ":authority" || (name == "host" && fields.authority.empty())) {
    Keep(fields.authority, value, kMaxAuthority);
  } else if (name == ":status") {
    fields.status = SmallNumber(value);
  } else if (name == "user-agent") {
    Keep(fields.user_agent, value, kMaxUserAgent);
  } else if (name == "x-request-id") {
    Keep(fields.request_id, value, kMaxRequestId);
  } else if (name == "x-forwarded-for") {
    Keep(fields.forwarded_for, value, kMaxForwardedFor);
  } else if (name == "content-type") {
    fields.is_grpc = value.starts_with("application/grpc");
  } else if (name == "grpc-status") {
    fields.grpc_status = SmallNumber(value);
  }
}

void Http2Reader::OnBlock(Side& side) {
  const std::uint32_t id = side.block_stream;
  if (IsClient(side) && id > last_stream_) {
    OnRequest(id, std::move(side.fields), side.block_ends_stream);
    return;
  }
  const auto at = streams_.find(id);
  if (at == streams_.end()) return;
  if (!IsClient(side)) OnResponse(at->second, side.fields);
  if (side.block_ends_stream) EndOfStream(side, id);
}

void Http2Reader::OnRequest(std::uint32_t id, Fields fields, bool ends) {
  last_stream_ = id;
  if (streams_.size() >= kMaxStreams) return;
  Stream& stream = streams_[id];
  stream.start = std::chrono::steady_clock::now();
  stream.sent = ends;
  HttpRecord& record = stream.record;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  record.start_unix_ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  record.protocol = "HTTP/2";
  record.method = std::move(fields.method);
  record.path = std::move(fields.path);
  record.authority = std::move(fields.authority);
  record.user_agent = std::move(fields.user_agent);
  record.request_id = std::move(fields.request_id);
  record.forwarded_for = std::move(fields.forwarded_for);
  record.is_grpc = fields.is_grpc;
}

void Http2Reader::OnResponse(Stream& stream, const Fields& fields) {
  // In a head, or in the trailers behind it.
  if (fields.grpc_status >= 0) stream.record.grpc_status = fields.grpc_status;
  if (stream.answered || fields.status < 200) return;
  stream.answered = true;
  stream.record.status = fields.status;
  stream.record.details = "via_upstream";
  const auto waited = std::chrono::steady_clock::now() - stream.start;
  stream.record.service_ms = std::chrono::duration_cast<std::chrono::milliseconds>(waited).count();
}

void Http2Reader::EndOfStream(const Side& side, std::uint32_t id) {
  const auto at = streams_.find(id);
  if (at == streams_.end()) return;
  (IsClient(side) ? at->second.sent : at->second.complete) = true;
  FinishIfOver(at);
}

void Http2Reader::Reset(const Side& side, std::uint32_t id, std::uint32_t code) {
  const auto at = streams_.find(id);
  if (at == streams_.end()) return;
  Stream& stream = at->second;
  // A server that needs no more of the request says NO_ERROR behind its response.
  if (!stream.complete) {
    if (IsClient(side)) {
      stream.record.flags = "DR";
      stream.record.details = "http2.remote_reset";
    } else {
      stream.record.flags = "UR";
      stream.record.details = stream.answered
                                  ? "upstream_reset_after_response_started{remote_reset}"
                                  : "upstream_reset_before_response_started{remote_reset}";
    }
  } else if (code != kNoError && !IsClient(side)) {
    stream.record.flags = "UR";
  }
  stream.sent = stream.complete = true;
  FinishIfOver(at);
}

void Http2Reader::FinishIfOver(Streams::iterator at) {
  if (!at->second.sent || !at->second.complete) return;
  Finish(at->second);
  streams_.erase(at);
}

void Http2Reader::Finish(Stream& stream) {
  stream.record.duration = std::chrono::steady_clock::now() - stream.start;
  records_.push_back(std::move(stream.record));
}

void Http2Reader::Close(std::string_view flags) {
  for (auto& [id, stream] : streams_) {
    if (!stream.complete) stream.record.flags = flags;
    Finish(stream);
  }
  streams_.clear();
}

}  // namespace sluice::proxy
