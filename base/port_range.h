// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <compare>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

// TCP or UDP ports from `first` to `last`, both included, in host byte order.
struct PortRange {
  std::uint16_t first = 0;
  std::uint16_t last = 0;

  // "8080" or "8000-8999", ports from 1 to 65535. Throws std::invalid_argument saying what is
  // expected.
  static PortRange Parse(std::string_view text);
  static constexpr PortRange Single(std::uint16_t port) { return {port, port}; }

  constexpr bool Contains(std::uint16_t port) const { return first <= port && port <= last; }
  constexpr bool Contains(const PortRange& other) const {
    return first <= other.first && other.last <= last;
  }

  // In the form that Parse takes.
  std::string ToString() const;

  friend constexpr auto operator<=>(const PortRange&, const PortRange&) = default;
};

std::ostream& operator<<(std::ostream& out, const PortRange& range);

// Sorted, with duplicates, overlaps and neighbours merged: {81, 80, 8000-8010, 8005} becomes
// {80-81, 8000-8010}.
std::vector<PortRange> Coalesce(std::vector<PortRange> ranges);

}  // namespace sluice
