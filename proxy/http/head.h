// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/parse.h"

namespace sluice::proxy {

// Heads of HTTP/1 messages (RFC 9112). They are read strictly: whatever servers and proxies are
// known to read differently is an error.

// Finds the end of a head. Takes each byte once, in order.
class HeadScanner {
 public:
  enum class Status : std::uint8_t { kMore, kEnd, kBad, kTooLong };

  // Reads the next bytes up to the end of the head, and sets `used` to their number.
  // kBad: a line does not end with CRLF. kTooLong: it is larger than kMaxHeadBytes.
  Status Feed(std::string_view bytes, std::size_t& used);

  // The bytes of empty lines before the head, which a server ignores (RFC 9112, section 2.2).
  std::size_t leading() const { return leading_; }
  std::size_t size() const { return size_; }

 private:
  std::size_t size_ = 0;
  std::size_t leading_ = 0;
  std::size_t line_ = 0;  // bytes of the present line
  bool carriage_return_ = false;
};

// How a client of HTTP/2 begins.
inline constexpr std::string_view kHttp2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// What a client's first bytes are.
enum class HttpGuess : std::uint8_t {
  kUndecided,
  kHttp1,    // some server may take the line for a request: read it strictly from here on
  kPreface,  // of HTTP/2 by prior knowledge (RFC 9113, section 3.4)
  kOther,
};
HttpGuess GuessProtocol(std::string_view bytes);

struct HttpField {
  std::string_view name;
  std::string_view value;  // without spaces around it
  std::string_view line;   // all of it, with CRLF
};

// How a body's end is found.
enum class BodyKind : std::uint8_t { kNone, kLength, kChunked, kUntilClose };
struct BodyFraming {
  BodyKind kind = BodyKind::kNone;
  std::uint64_t length = 0;  // of kLength, at least 1
};

// Why a head is refused; null if it is not. Static text, for the log.
using HeadError = const char*;

struct RequestHead {
  std::string_view line;  // with CRLF
  std::string_view method;
  std::string_view target;
  bool is_http11 = false;
  std::vector<HttpField> fields;
  BodyFraming body;
  bool asks_for_upgrade = false;  // Connection: upgrade, with Upgrade
  bool is_connect() const { return method == "CONNECT"; }
};

struct ResponseHead {
  std::string_view line;
  int status = 0;
  bool is_http11 = false;
  std::vector<HttpField> fields;
  BodyFraming body;
};

// `text` is a head with the empty line at its end and none before it, as HeadScanner finds it. The
// views refer to `text`.
HeadError ParseRequestHead(std::string_view text, RequestHead& head);
// `to_head`: the request's method is HEAD.
HeadError ParseResponseHead(std::string_view text, bool to_head, ResponseHead& head);

// Whether two names are the same, without regard to case; `lower` is in lower case.
bool IsField(std::string_view name, std::string_view lower);
// Calls `each(token)` for the elements of a comma-separated list.
template <typename Each>
void ForEachToken(std::string_view list, Each&& each) {
  while (true) {
    const std::size_t comma = list.find(',');
    const std::string_view token = Trim(list.substr(0, comma));
    if (!token.empty()) each(token);
    if (comma == std::string_view::npos) return;
    list.remove_prefix(comma + 1);
  }
}

// One line of headers or trailers, with CRLF. Null: it is well-formed.
HeadError ParseField(std::string_view line, HttpField& field);

// Digits only, and few enough for 63 bits.
bool ParseContentLength(std::string_view text, std::uint64_t& length);

}  // namespace sluice::proxy
