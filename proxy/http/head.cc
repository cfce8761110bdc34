// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/http/head.h"

#include <algorithm>
#include <cstring>

#include "base/text/ascii.h"
#include "proxy/http/http_config.h"

namespace sluice::proxy {
namespace {

// Longer words are no method; the longest registered one has 17 characters.
constexpr std::size_t kMaxMethodToken = 64;

bool IsToken(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return IsTokenChar(c); });
}

// What a header's value may contain: visible characters, spaces, tabs, and bytes beyond ASCII.
bool IsValueChar(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x20 ? byte != 0x7f : byte == '\t';
}

bool IsTargetChar(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte > 0x20 && byte != 0x7f;
}

// "HTTP/1.0" or "HTTP/1.1".
bool ParseVersion(std::string_view text, bool& is_http11) {
  is_http11 = text == "HTTP/1.1";
  return is_http11 || text == "HTTP/1.0";
}

// Takes the first line, with its CRLF. False if it does not end with CRLF.
bool TakeLine(std::string_view& text, std::string_view& line) {
  const std::size_t end = text.find('\n');
  if (end == std::string_view::npos) return false;
  line = text.substr(0, end + 1);
  text.remove_prefix(end + 1);
  return line.size() >= 2 && line[line.size() - 2] == '\r';
}

// More than most heads have.
constexpr std::size_t kUsualFields = 24;

HeadError ParseFields(std::string_view text, std::vector<HttpField>& fields) {
  fields.reserve(kUsualFields);
  std::string_view line;
  while (true) {
    if (!TakeLine(text, line)) return "a line that does not end with CRLF";
    if (line.size() == 2) break;
    HttpField field;
    if (const HeadError error = ParseField(line, field)) return error;
    fields.push_back(field);
  }
  return text.empty() ? nullptr : "bytes after the head";
}

struct Framing {
  bool has_length = false;
  bool is_chunked = false;
  std::uint64_t length = 0;
};

HeadError ReadFraming(const std::vector<HttpField>& fields, bool is_http11, Framing& framing) {
  for (const HttpField& field : fields) {
    if (IsField(field.name, "content-length")) {
      if (framing.has_length) return "two Content-Lengths";
      if (!ParseContentLength(field.value, framing.length)) return "a Content-Length that is none";
      framing.has_length = true;
    } else if (IsField(field.name, "transfer-encoding")) {
      if (framing.is_chunked) return "two Transfer-Encodings";
      if (!IsField(field.value, "chunked")) return "a Transfer-Encoding other than chunked";
      if (!is_http11) return "Transfer-Encoding with HTTP/1.0";
      framing.is_chunked = true;
    }
  }
  if (framing.has_length && framing.is_chunked) return "Content-Length with Transfer-Encoding";
  return nullptr;
}

BodyFraming Framed(const Framing& framing, BodyKind otherwise) {
  if (framing.is_chunked) return {.kind = BodyKind::kChunked};
  if (!framing.has_length) return {.kind = otherwise};
  if (framing.length == 0) return {};
  return {.kind = BodyKind::kLength, .length = framing.length};
}

}  // namespace

bool IsField(std::string_view name, std::string_view lower) {
  return std::ranges::equal(name, lower, {}, ToLower);
}

HeadScanner::Status HeadScanner::Feed(std::string_view bytes, std::size_t& used) {
  used = 0;
  while (used < bytes.size()) {
    const std::size_t end = bytes.find('\n', used);
    const std::size_t stop = end == std::string_view::npos ? bytes.size() : end;
    const std::size_t length = stop - used;
    if (size_ - leading_ + length > kMaxHeadBytes) return Status::kTooLong;
    if (length > 0) carriage_return_ = bytes[stop - 1] == '\r';
    line_ += length;
    size_ += length;
    used = stop;
    if (end == std::string_view::npos) return Status::kMore;
    if (!carriage_return_) return Status::kBad;
    ++size_;
    ++used;
    carriage_return_ = false;
    const bool is_empty = line_ == 1;
    line_ = 0;
    if (is_empty && size_ != leading_ + 2) {
      return size_ - leading_ > kMaxHeadBytes ? Status::kTooLong : Status::kEnd;
    }
    if (is_empty) leading_ += 2;
    // Clients send at most one or two empty lines.
    if (leading_ > 8) return Status::kBad;
  }
  return Status::kMore;
}

HttpGuess GuessProtocol(std::string_view bytes) {
  if (bytes.starts_with(kHttp2Preface)) return HttpGuess::kPreface;
  if (kHttp2Preface.starts_with(bytes)) return HttpGuess::kUndecided;
  // Some servers skip these characters.
  const std::size_t begin = bytes.find_first_not_of("\r\n \t");
  if (begin == std::string_view::npos) {
    return bytes.size() > kMaxHeadBytes ? HttpGuess::kOther : HttpGuess::kUndecided;
  }
  bytes.remove_prefix(begin);
  const std::string_view front = bytes.substr(0, kMaxMethodToken + 1);
  const auto method =
      static_cast<std::size_t>(std::ranges::find_if_not(front, IsTokenChar) - front.begin());
  if (method == 0 || method > kMaxMethodToken) return HttpGuess::kOther;
  if (method == bytes.size()) return HttpGuess::kUndecided;
  if (!IsBlank(bytes[method])) return HttpGuess::kOther;
  const std::size_t end = bytes.find('\n');
  if (end == std::string_view::npos) {
    return bytes.size() > kMaxHeadBytes ? HttpGuess::kHttp1 : HttpGuess::kUndecided;
  }
  constexpr std::string_view kName = "http/";
  const std::string_view line = bytes.substr(0, end);
  // clang 14 cannot compile std::ranges::search with this library.
  const auto* const found = std::search(line.begin(), line.end(), kName.begin(), kName.end(),
                                        [](char c, char wanted) { return ToLower(c) == wanted; });
  const bool named = found != line.end();
  return named ? HttpGuess::kHttp1 : HttpGuess::kOther;
}

HeadError ParseField(std::string_view line, HttpField& field) {
  field.line = line;
  line.remove_suffix(2);
  if (line.empty()) return "an empty line";
  if (IsBlank(line.front())) return "a folded header";
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return "a header without a colon";
  field.name = line.substr(0, colon);
  if (!IsToken(field.name)) return "a header with another name than a token";
  field.value = Trim(line.substr(colon + 1));
  if (!std::ranges::all_of(field.value, IsValueChar)) return "a control character in a header";
  return nullptr;
}

bool ParseContentLength(std::string_view text, std::uint64_t& length) {
  // 18 digits are below 2^63.
  if (text.empty() || text.size() > 18) return false;
  length = 0;
  for (const char c : text) {
    if (!IsDigit(c)) return false;
    length = length * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return true;
}

HeadError ParseRequestHead(std::string_view text, RequestHead& head) {
  head = {};
  if (!TakeLine(text, head.line)) return "a line that does not end with CRLF";
  const std::string_view line = head.line.substr(0, head.line.size() - 2);
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return "a request line that is none";
  head.method = line.substr(0, first);
  head.target = line.substr(first + 1, last - first - 1);
  if (!IsToken(head.method)) return "a method that is no token";
  if (head.target.empty() || !std::ranges::all_of(head.target, IsTargetChar)) {
    return "a target with a space or a control character";
  }
  if (!ParseVersion(line.substr(last + 1), head.is_http11)) return "a version other than HTTP/1.x";
  if (const HeadError error = ParseFields(text, head.fields)) return error;
  Framing framing;
  if (const HeadError error = ReadFraming(head.fields, head.is_http11, framing)) return error;
  head.body = Framed(framing, BodyKind::kNone);
  int hosts = 0;
  bool names_upgrade = false;
  bool has_upgrade = false;
  for (const HttpField& field : head.fields) {
    if (IsField(field.name, "host")) {
      ++hosts;
      if (field.value.find_first_of(" \t,") != std::string_view::npos) return "a Host that is none";
    } else if (IsField(field.name, "upgrade")) {
      has_upgrade = true;
    } else if (IsField(field.name, "connection")) {
      ForEachToken(field.value, [&](std::string_view token) {
        names_upgrade = names_upgrade || IsField(token, "upgrade");
      });
    }
  }
  if (hosts > 1) return "two Hosts";
  if (hosts == 0 && head.is_http11) return "HTTP/1.1 without a Host";
  head.asks_for_upgrade = names_upgrade && has_upgrade && head.is_http11;
  if (head.is_connect() && head.body.kind != BodyKind::kNone) return "CONNECT with a body";
  return nullptr;
}

HeadError ParseResponseHead(std::string_view text, bool to_head, ResponseHead& head) {
  head = {};
  if (!TakeLine(text, head.line)) return "a line that does not end with CRLF";
  const std::string_view line = head.line.substr(0, head.line.size() - 2);
  // "HTTP/1.1 200"; many leave out the reason, and some the space before it.
  if (line.size() < 12 || !ParseVersion(line.substr(0, 8), head.is_http11) || line[8] != ' ' ||
      (line.size() > 12 && line[12] != ' ')) {
    return "a status line that is none";
  }
  for (const char c : line.substr(9, 3)) {
    if (!IsDigit(c)) return "a status that is no number";
    head.status = head.status * 10 + (c - '0');
  }
  if (head.status < 100 || head.status > 599) return "a status that is none";
  if (!std::ranges::all_of(line, IsValueChar)) return "a control character in the status line";
  if (const HeadError error = ParseFields(text, head.fields)) return error;
  Framing framing;
  if (const HeadError error = ReadFraming(head.fields, head.is_http11, framing)) return error;
  const bool bodiless = to_head || head.status < 200 || head.status == 204 || head.status == 304;
  head.body = bodiless ? BodyFraming{} : Framed(framing, BodyKind::kUntilClose);
  return nullptr;
}

}  // namespace sluice::proxy
