// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/port_range.h"

#include <algorithm>
#include <ostream>
#include <stdexcept>

#include "base/parse.h"

namespace sluice {
namespace {

constexpr const char* kExpected = "a port from 1 to 65535 or a range such as 8000-8999";

std::uint16_t ParsePort(std::string_view text) {
  try {
    return static_cast<std::uint16_t>(ParseNumber(text, 1, 65535));
  } catch (const std::invalid_argument&) {
    throw std::invalid_argument(kExpected);
  }
}

}  // namespace

PortRange PortRange::Parse(std::string_view text) {
  const auto dash = text.find('-');
  if (dash == std::string_view::npos) return Single(ParsePort(text));
  const PortRange range{ParsePort(text.substr(0, dash)), ParsePort(text.substr(dash + 1))};
  if (range.first > range.last) {
    throw std::invalid_argument("a range whose first port is not above its last");
  }
  return range;
}

std::string PortRange::ToString() const {
  if (first == last) return std::to_string(first);
  return std::to_string(first) + "-" + std::to_string(last);
}

std::ostream& operator<<(std::ostream& out, const PortRange& range) {
  return out << range.ToString();
}

std::vector<PortRange> Coalesce(std::vector<PortRange> ranges) {
  std::ranges::sort(ranges);
  std::vector<PortRange> merged;
  for (const PortRange& range : ranges) {
    if (!merged.empty() && range.first <= static_cast<std::uint32_t>(merged.back().last) + 1) {
      merged.back().last = std::max(merged.back().last, range.last);
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

}  // namespace sluice
