// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <string_view>

namespace sluice {

// Kinds of characters in protocols. <cctype> has functions with these names, which depend on the
// locale and are undefined for negative chars.

constexpr bool IsDigit(char c) { return c >= '0' && c <= '9'; }
constexpr bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
constexpr bool IsBlank(char c) { return c == ' ' || c == '\t'; }
constexpr bool IsPrintable(char c) { return c >= 0x20 && c <= 0x7e; }  // with the space
constexpr char ToLower(char c) { return static_cast<char>(IsUpper(c) ? c + ('a' - 'A') : c); }

// A table: each header of each request is looked at.
inline constexpr std::array<bool, 256> kTokenChars = [] {
  std::array<bool, 256> chars{};
  for (char c = 0x20; c != 0x7f; ++c) {
    chars[static_cast<unsigned char>(c)] =
        std::string_view(" \"(),/:;<=>?@[\\]{}").find(c) == std::string_view::npos;
  }
  return chars;
}();

// What a method and the name of a header consist of (RFC 9110, section 5.6.2).
constexpr bool IsTokenChar(char c) { return kTokenChars[static_cast<unsigned char>(c)]; }

}  // namespace sluice
