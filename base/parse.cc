// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/parse.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <stdexcept>
#include <string>

namespace sluice {

namespace {

std::uint64_t Parse(std::string_view text, int base, std::uint64_t min, std::uint64_t max) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, code] = std::from_chars(text.data(), end, value, base);
  if (text.empty() || code != std::errc{} || stopped != end || value < min || value > max) {
    throw std::invalid_argument("a number from " + std::to_string(min) + " to " +
                                std::to_string(max));
  }
  return value;
}

}  // namespace

std::uint64_t ParseNumber(std::string_view text, std::uint64_t min, std::uint64_t max) {
  if (text.starts_with("0x") || text.starts_with("0X")) return Parse(text.substr(2), 16, min, max);
  return Parse(text, 10, min, max);
}

std::uint64_t ParseDecimal(std::string_view text, std::uint64_t min, std::uint64_t max) {
  return Parse(text, 10, min, max);
}

bool ParseBool(std::string_view text) {
  constexpr std::array<std::string_view, 7> kTrue = {"1", "t", "T", "true", "TRUE", "True", "on"};
  constexpr std::array<std::string_view, 7> kFalse = {"0",     "f",     "F",  "false",
                                                      "FALSE", "False", "off"};
  if (std::ranges::find(kTrue, text) != kTrue.end()) return true;
  if (std::ranges::find(kFalse, text) != kFalse.end()) return false;
  throw std::invalid_argument("true or false");
}

bool IsServiceLink(std::string_view variable, std::string_view value) {
  if (!variable.ends_with("_PORT")) return false;
  return value.starts_with("tcp://") || value.starts_with("udp://") || value.starts_with("sctp://");
}

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t";
  const auto first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

std::vector<std::string_view> SplitList(std::string_view text) {
  std::vector<std::string_view> items;
  text = Trim(text);
  while (!text.empty()) {
    const auto comma = text.find(',');
    const std::string_view item = Trim(text.substr(0, comma));
    if (item.empty()) throw std::invalid_argument("a list without an empty item between commas");
    items.push_back(item);
    text = comma == std::string_view::npos ? std::string_view{} : Trim(text.substr(comma + 1));
  }
  return items;
}

}  // namespace sluice
