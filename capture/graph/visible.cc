// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <array>

#include "capture/graph/graph.h"

namespace sluice::capture::graph {
namespace {

struct Character {
  char32_t code = 0;
  std::size_t bytes = 1;
  bool valid = false;
};

// The first character of `text`, which is not empty (RFC 3629: shortest form, no surrogates).
Character First(std::string_view text) {
  const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  std::size_t bytes = 0;
  if (lead >= 0xc2 && lead <= 0xdf) bytes = 2;
  if (lead >= 0xe0 && lead <= 0xef) bytes = 3;
  if (lead >= 0xf0 && lead <= 0xf4) bytes = 4;
  if (bytes == 0 || text.size() < bytes) return {};
  char32_t code = lead & (0xffU >> (bytes + 1));
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0U) != 0x80) return {};
    code = (code << 6) | (byte(i) & 0x3fU);
  }
  constexpr std::array<char32_t, 5> kLeast = {0, 0, 0x80, 0x800, 0x10000};
  if (code < kLeast.at(bytes) || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return {};
  return {code, bytes, true};
}

// Whether readers see the character for what it is. XML does not allow some of the others.
bool IsPlain(char32_t code) {
  if (code < 0x20 || (code >= 0x7f && code <= 0x9f)) return false;
  if (code >= 0x200b && code <= 0x200f) return false;  // zero width, direction marks
  if (code >= 0x2028 && code <= 0x202e) return false;  // line ends, direction changes
  if (code >= 0x2060 && code <= 0x206f) return false;
  return code != 0xfeff && code != 0xfffe && code != 0xffff;
}

}  // namespace

std::string Visible(std::string_view text, std::size_t most) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  constexpr std::string_view kMore = "...";
  std::string out;
  std::size_t count = 0;
  std::size_t cut = 0;  // where kMore would start
  while (!text.empty()) {
    const Character next = First(text);
    std::string shown;
    if (next.valid && IsPlain(next.code)) {
      shown = text.substr(0, next.bytes);
      ++count;
    } else {
      for (const char c : text.substr(0, next.bytes)) {
        const auto byte = static_cast<unsigned char>(c);
        shown += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15U]};
        count += 4;
      }
    }
    if (count > most) return out.substr(0, cut).append(kMore);
    out += shown;
    if (count + kMore.size() <= most) cut = out.size();
    text.remove_prefix(next.bytes);
  }
  return out;
}

}  // namespace sluice::capture::graph
