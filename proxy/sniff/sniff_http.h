// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "proxy/sniff/sniff.h"

namespace sluice::proxy {

// Reads the head of an HTTP/1 request (RFC 9112), or recognises the preface of HTTP/2 (RFC 9113,
// section 3.4). Anything but upper-case letters (and '-'), a space, a target and an HTTP version is
// not recognised, from the first byte that does not fit; an error after the request line ends the
// reading, and what was learned before is kept.
class HttpRequestHead {
 public:
  // The next bytes of the stream. Do not call again after any result but kNeedMore. `seen` gets the
  // request line as soon as that is complete, and each header likewise.
  SniffStatus Feed(std::span<const std::uint8_t> bytes, Sniffed& seen);

 private:
  enum class State : std::uint8_t {
    kMethod,
    kTarget,
    kVersion,
    kVersionEnd,
    kPreface,
    kLineStart,
    kName,
    kValue,
  };
  enum class Header : std::uint8_t { kOther, kHost, kUserAgent };

  SniffStatus Byte(char byte, Sniffed& seen);
  SniffStatus MethodByte(char byte);
  SniffStatus TargetByte(char byte);
  SniffStatus VersionByte(char byte);
  SniffStatus RequestLineDone(Sniffed& seen);
  SniffStatus LineStartByte(char byte, Sniffed& seen);
  SniffStatus NameByte(char byte);
  void ValueByte(char byte, Sniffed& seen);
  void ValueDone(Sniffed& seen);
  void DistrustHost(Sniffed& seen);

  State state_ = State::kMethod;
  Header header_ = Header::kOther;
  bool carriage_return_ = false;       // the previous byte was one
  bool authority_is_settled_ = false;  // by the target, or because Host is not reliable
  bool host_is_seen_ = false;
  bool user_agent_is_seen_ = false;  // a second one is ignored
  bool value_is_cut_ = false;
  std::uint8_t matched_ = 0;      // bytes of the version or of the preface
  std::uint8_t name_length_ = 0;  // stops at one more than fits
  char major_ = 0;
  char minor_ = 0;
  std::array<char, 10> name_{};  // large enough for "user-agent"; lower case
  std::string method_;
  std::string value_;  // the target or the header being read
};

// Reads the status line of an HTTP/1 response (RFC 9112, section 4), after any interim responses
// (100 to 199; 101 is final).
class HttpStatusLine {
 public:
  // As above.
  SniffStatus Feed(std::span<const std::uint8_t> bytes);

  // Of the final response, after Feed returned kDone.
  std::uint16_t code() const { return code_; }
  std::string_view protocol() const { return minor_ == '0' ? "HTTP/1.0" : "HTTP/1.1"; }

 private:
  SniffStatus Byte(char byte);

  std::uint8_t matched_ = 0;    // bytes of the status line, up to the code's last digit
  bool skipping_ = false;       // the rest of an interim response
  bool line_is_empty_ = false;  // so far
  char minor_ = 0;
  std::uint16_t code_ = 0;
};

}  // namespace sluice::proxy
