// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/sniff/sniff_http.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/text/ascii.h"

namespace sluice::proxy {
namespace {

// Follows "PRI * HTTP/2.0" (RFC 9113, section 3.4).
constexpr std::string_view kPrefaceEnd = "\r\n\r\nSM\r\n\r\n";
constexpr std::string_view kVersionStart = "HTTP/";
constexpr std::size_t kVersionLength = 8;      // "HTTP/1.1"
constexpr std::size_t kStatusLineLength = 12;  // "HTTP/1.1 200"

// A host name, an IPv4 or bracketed IPv6 address, and a port. Narrower than RFC 3986, which allows
// nearly anything as a name.
bool IsAuthority(std::string_view text) {
  return !text.empty() && text.size() <= kMaxAuthority &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return IsDigit(c) || IsUpper(c) || (c >= 'a' && c <= 'z') ||
                  std::string_view(".-_:[]").find(c) != std::string_view::npos;
         });
}

std::string AuthorityOrNothing(std::string_view text) {
  return IsAuthority(text) ? std::string(text) : std::string();
}

}  // namespace

SniffStatus HttpRequestHead::Feed(std::span<const std::uint8_t> bytes, Sniffed& seen) {
  for (const std::uint8_t byte : bytes) {
    const SniffStatus status = Byte(static_cast<char>(byte), seen);
    if (status != SniffStatus::kNeedMore) return status;
  }
  return SniffStatus::kNeedMore;
}

SniffStatus HttpRequestHead::Byte(char byte, Sniffed& seen) {
  switch (state_) {
    case State::kMethod:
      return MethodByte(byte);
    case State::kTarget:
      return TargetByte(byte);
    case State::kVersion:
      return VersionByte(byte);
    case State::kVersionEnd:
      if (byte == '\n') return RequestLineDone(seen);
      return byte == '\r' && !std::exchange(carriage_return_, true) ? SniffStatus::kNeedMore
                                                                    : SniffStatus::kNotRecognised;
    case State::kPreface:
      if (byte != kPrefaceEnd[matched_]) return SniffStatus::kNotRecognised;
      if (++matched_ < kPrefaceEnd.size()) return SniffStatus::kNeedMore;
      seen.spoken = Spoken::kHttp2;
      seen.protocol = "HTTP/2";
      return SniffStatus::kDone;
    case State::kLineStart:
      return LineStartByte(byte, seen);
    case State::kName:
      return NameByte(byte);
    case State::kValue:
      ValueByte(byte, seen);
      return SniffStatus::kNeedMore;
  }
  return SniffStatus::kNotRecognised;
}

SniffStatus HttpRequestHead::MethodByte(char byte) {
  if (byte == ' ' && !method_.empty()) {
    state_ = State::kTarget;
    return SniffStatus::kNeedMore;
  }
  const bool fits = IsUpper(byte) || (byte == '-' && !method_.empty());
  if (!fits || method_.size() == kMaxMethod) return SniffStatus::kNotRecognised;
  method_.push_back(byte);
  return SniffStatus::kNeedMore;
}

SniffStatus HttpRequestHead::TargetByte(char byte) {
  if (byte == ' ' && !value_.empty()) {
    state_ = State::kVersion;
    return SniffStatus::kNeedMore;
  }
  const auto code = static_cast<unsigned char>(byte);
  if (code <= 0x20 || code == 0x7f) return SniffStatus::kNotRecognised;
  if (code < 0x80) {
    if (value_.size() < kMaxPath && !value_is_cut_) {
      value_.push_back(byte);
    } else {
      value_is_cut_ = true;
    }
    return SniffStatus::kNeedMore;
  }
  // Sent although RFC 3986 does not allow it: written percent-encoded.
  if (value_.size() + 3 <= kMaxPath && !value_is_cut_) {
    constexpr std::string_view kHex = "0123456789ABCDEF";
    value_.append({'%', kHex[code >> 4], kHex[code & 0xf]});
  } else {
    value_is_cut_ = true;
  }
  return SniffStatus::kNeedMore;
}

SniffStatus HttpRequestHead::VersionByte(char byte) {
  const std::size_t at = matched_++;
  bool fits = false;
  if (at < kVersionStart.size()) {
    fits = byte == kVersionStart[at];
  } else if (at == kVersionStart.size()) {
    fits = byte == '1' || (byte == '2' && method_ == "PRI" && value_ == "*");
    major_ = byte;
  } else if (at == kVersionStart.size() + 1) {
    fits = byte == '.';
  } else {
    fits = byte == '0' || (byte == '1' && major_ == '1');
    minor_ = byte;
  }
  if (!fits) return SniffStatus::kNotRecognised;
  if (matched_ == kVersionLength) {
    state_ = major_ == '2' ? State::kPreface : State::kVersionEnd;
    matched_ = 0;
  }
  return SniffStatus::kNeedMore;
}

// RFC 9112, section 3.2: the four forms of a target.
SniffStatus HttpRequestHead::RequestLineDone(Sniffed& seen) {
  seen.spoken = Spoken::kHttp1;
  seen.protocol = minor_ == '0' ? "HTTP/1.0" : "HTTP/1.1";
  seen.method = std::move(method_);
  const std::string_view target = value_;
  const auto scheme_end = target.find("://");
  if (seen.method == "CONNECT") {
    seen.authority = AuthorityOrNothing(target);
    authority_is_settled_ = true;
  } else if (target.front() != '/' && scheme_end != std::string_view::npos &&
             scheme_end < target.find_first_of("/?#")) {
    const std::string_view rest = target.substr(scheme_end + 3);
    const auto path = std::min(rest.find_first_of("/?#"), rest.size());
    const std::string_view authority = rest.substr(0, path);
    // The part before '@' is a name and a password: not for a log.
    seen.authority = AuthorityOrNothing(authority.substr(authority.rfind('@') + 1));
    authority_is_settled_ = true;
    seen.path = rest.substr(path);
    if (seen.path.empty() || seen.path.front() != '/') seen.path.insert(0, 1, '/');
    seen.path.resize(std::min(seen.path.size(), kMaxPath));
  } else {
    seen.path = target;
  }
  carriage_return_ = false;
  state_ = State::kLineStart;
  return SniffStatus::kNeedMore;
}

SniffStatus HttpRequestHead::LineStartByte(char byte, Sniffed& seen) {
  if (byte == '\n') return SniffStatus::kDone;
  if (std::exchange(carriage_return_, byte == '\r')) return SniffStatus::kDone;  // a fault
  if (carriage_return_) return SniffStatus::kNeedMore;
  if (IsBlank(byte)) {
    // A folded line (RFC 9112, section 5.2) continues the previous header. Not in Host, where
    // servers disagree about its meaning.
    value_.clear();
    if (header_ == Header::kHost) DistrustHost(seen);
    if (header_ == Header::kUserAgent) value_ = seen.user_agent + ' ';
    state_ = State::kValue;
    return SniffStatus::kNeedMore;
  }
  name_length_ = 0;
  state_ = State::kName;
  return NameByte(byte);
}

SniffStatus HttpRequestHead::NameByte(char byte) {
  if (byte == ':' && name_length_ > 0) {
    const std::string_view name(name_.data(), std::min<std::size_t>(name_length_, name_.size()));
    header_ = Header::kOther;
    if (name_length_ == name.size() && name == "host") header_ = Header::kHost;
    if (name_length_ == name.size() && name == "user-agent" && !user_agent_is_seen_) {
      header_ = Header::kUserAgent;
      user_agent_is_seen_ = true;
    }
    value_.clear();
    value_is_cut_ = false;
    state_ = State::kValue;
    return SniffStatus::kNeedMore;
  }
  if (!IsTokenChar(byte)) return SniffStatus::kDone;
  if (name_length_ < name_.size()) name_[name_length_] = ToLower(byte);
  if (name_length_ <= name_.size()) ++name_length_;
  return SniffStatus::kNeedMore;
}

void HttpRequestHead::ValueByte(char byte, Sniffed& seen) {
  if (byte == '\n') {
    ValueDone(seen);
    state_ = State::kLineStart;
    carriage_return_ = false;
    return;
  }
  if (header_ == Header::kOther) return;
  // A carriage return without a line feed counts as a space (RFC 9112, section 2.2); runs of blanks
  // become one.
  const bool blank = IsBlank(byte) || byte == '\r';
  if (blank && (value_.empty() || value_.back() == ' ')) return;
  const std::size_t limit = header_ == Header::kHost ? kMaxAuthority + 1 : kMaxUserAgent;
  if (value_.size() >= limit) {
    value_is_cut_ = value_is_cut_ || !blank;
    return;
  }
  value_.push_back(blank ? ' ' : IsPrintable(byte) ? byte : '?');
}

void HttpRequestHead::ValueDone(Sniffed& seen) {
  if (!value_.empty() && value_.back() == ' ') value_.pop_back();
  if (header_ == Header::kUserAgent) seen.user_agent = value_;
  if (header_ != Header::kHost) return;
  if (host_is_seen_) {
    DistrustHost(seen);
  } else if (!authority_is_settled_ && !value_is_cut_) {
    seen.authority = AuthorityOrNothing(value_);
  }
  host_is_seen_ = true;
}

void HttpRequestHead::DistrustHost(Sniffed& seen) {
  if (!authority_is_settled_) seen.authority.clear();
  authority_is_settled_ = true;
}

SniffStatus HttpStatusLine::Feed(std::span<const std::uint8_t> bytes) {
  for (const std::uint8_t byte : bytes) {
    const SniffStatus status = Byte(static_cast<char>(byte));
    if (status != SniffStatus::kNeedMore) return status;
  }
  return SniffStatus::kNeedMore;
}

SniffStatus HttpStatusLine::Byte(char byte) {
  if (skipping_) {
    if (byte == '\n' && line_is_empty_) skipping_ = false;
    if (byte != '\r') line_is_empty_ = byte == '\n';
    return SniffStatus::kNeedMore;
  }
  constexpr std::string_view kStart = "HTTP/1.";
  const std::size_t at = matched_++;
  bool fits = false;
  if (at < kStart.size()) {
    fits = byte == kStart[at];
    code_ = 0;
  } else if (at == kStart.size()) {
    fits = byte == '0' || byte == '1';
    minor_ = byte;
  } else if (at == kStart.size() + 1) {
    fits = byte == ' ';
  } else if (at < kStatusLineLength) {
    // RFC 9110, section 15: the first digit is 1 to 5.
    fits = IsDigit(byte) && (code_ > 0 || (byte >= '1' && byte <= '5'));
    code_ = static_cast<std::uint16_t>(code_ * 10 + (byte - '0'));
  } else {
    fits = byte == ' ' || byte == '\r' || byte == '\n';
    const bool interim = code_ < 200 && code_ != 101;
    if (fits && !interim) return SniffStatus::kDone;
    skipping_ = true;
    line_is_empty_ = byte == '\n';
    matched_ = 0;
  }
  return fits ? SniffStatus::kNeedMore : SniffStatus::kNotRecognised;
}

}  // namespace sluice::proxy
