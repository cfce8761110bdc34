// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/http/chunks.h"

#include <algorithm>

#include "base/text/ascii.h"
#include "proxy/http/http_config.h"
#include "proxy/http/rewrite.h"

namespace sluice::proxy {
namespace {

// Of a size line. With an extension in a response it is rarely longer than 100 bytes.
constexpr std::size_t kMaxSizeLine = 4096;

// 15 hexadecimal digits stay below 2^63.
constexpr std::size_t kMaxSizeDigits = 15;

int HexDigit(char c) {
  if (IsDigit(c)) return c - '0';
  const char lower = ToLower(c);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

HeadError ParseSize(std::string_view text, bool extensions_allowed, std::uint64_t& size) {
  std::size_t digits = 0;
  size = 0;
  while (digits < text.size() && HexDigit(text[digits]) >= 0) {
    if (digits == kMaxSizeDigits) return "a chunk size that is too large";
    size = size * 16 + static_cast<std::uint64_t>(HexDigit(text[digits]));
    ++digits;
  }
  if (digits == 0) return "a chunk size that is none";
  const std::string_view rest = text.substr(digits);
  if (rest.empty()) return nullptr;
  if (!extensions_allowed || rest.front() != ';') return "something after a chunk size";
  const bool printable = std::ranges::all_of(rest, IsPrintable);
  return printable ? nullptr : "a control character in a chunk extension";
}

}  // namespace

ChunkReader::Piece ChunkReader::Feed(std::string_view bytes, std::string& out) {
  Piece all;
  while (all.used < bytes.size()) {
    const std::size_t end = bytes.find('\n', all.used);
    const bool whole = end != std::string_view::npos;
    const std::size_t size = (whole ? end + 1 : bytes.size()) - all.used;
    const std::size_t limit = state_ == State::kTrailer ? kMaxHeadBytes - trailer_bytes_
                              : state_ == State::kSize  ? kMaxSizeLine
                                                        : std::size_t{2};
    if (line_.size() + size > limit) {
      all.error = state_ == State::kDataEnd ? "a chunk that is longer than its size"
                                            : "a line of a chunk that is too long";
      return all;
    }
    line_.append(bytes.substr(all.used, size));
    all.used += size;
    if (!whole) break;
    const Piece step = Line(out);
    line_.clear();
    all.error = step.error;
    all.data = step.data;
    all.done = step.done;
    if (step.error != nullptr || step.data > 0 || step.done) break;
  }
  return all;
}

ChunkReader::Piece ChunkReader::Line(std::string& out) {
  if (line_.size() < 2 || line_[line_.size() - 2] != '\r') {
    return {.error = "a line of a chunk that does not end with CRLF"};
  }
  const std::string_view text = std::string_view(line_).substr(0, line_.size() - 2);
  switch (state_) {
    case State::kSize: {
      std::uint64_t size = 0;
      if (const HeadError error = ParseSize(text, extensions_allowed_, size)) {
        return {.error = error};
      }
      out += line_;
      state_ = size == 0 ? State::kTrailer : State::kDataEnd;
      return {.data = size};
    }
    case State::kDataEnd:
      if (!text.empty()) return {.error = "a chunk that is longer than its size"};
      out += line_;
      state_ = State::kSize;
      return {};
    case State::kTrailer:
      break;
  }
  trailer_bytes_ += line_.size();
  if (text.empty()) {
    out += line_;
    return {.done = true};
  }
  HttpField field;
  if (const HeadError error = ParseField(line_, field)) return {.error = error};
  if (!IsForbiddenTrailer(field.name)) out += line_;
  return {};
}

}  // namespace sluice::proxy
