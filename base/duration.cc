// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/duration.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

namespace sluice {
namespace {

// "ms" before "m": the first match wins.
constexpr std::array<std::pair<std::string_view, std::int64_t>, 4> kUnits = {
    {{"ms", 1}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}}};

}  // namespace

std::chrono::milliseconds ParseDuration(std::string_view text, std::chrono::hours max) {
  const std::int64_t most = std::chrono::milliseconds(max).count();
  const auto refuse = [max]() -> std::invalid_argument {
    return std::invalid_argument("a duration such as 500ms, 10s, 1m30s or 1h, at most " +
                                 std::to_string(max.count()) + "h");
  };
  if (text.empty()) throw refuse();
  std::int64_t total = 0;
  for (bool first = true; !text.empty(); first = false) {
    std::int64_t count = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), count);
    if (code != std::errc{} || count < 0 || count > most) throw refuse();
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    std::int64_t factor = 1'000;
    if (!text.empty() || !first) {
      const auto unit =
          std::ranges::find_if(kUnits, [text](const auto& u) { return text.starts_with(u.first); });
      if (unit == kUnits.end()) throw refuse();
      text.remove_prefix(unit->first.size());
      factor = unit->second;
    }
    // No overflow: both are at most a few thousand million.
    total += count * factor;
    if (total > most) throw refuse();
  }
  return std::chrono::milliseconds(total);
}

}  // namespace sluice
