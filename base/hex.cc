// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/hex.h"

#include <charconv>

namespace sluice {

std::string Hex(std::uint32_t value) {
  char digits[8];
  const char* const end = std::to_chars(digits, digits + sizeof(digits), value, 16).ptr;
  return "0x" + std::string(static_cast<const char*>(digits), end);
}

}  // namespace sluice
