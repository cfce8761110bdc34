// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/duration.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

#include "base/text/ascii.h"

namespace sluice {
namespace {

// In nanoseconds, as in Go, whose three spellings of microseconds these are. "ms" before "m": the
// first match wins.
constexpr std::int64_t kMillisecond = 1'000'000;
constexpr std::array<std::pair<std::string_view, std::int64_t>, 8> kUnits = {
    {{"ms", kMillisecond},
     {"h", 3'600'000 * kMillisecond},
     {"m", 60'000 * kMillisecond},
     {"s", 1'000 * kMillisecond},
     {"us", 1'000},
     {"\u00b5s", 1'000},
     {"\u03bcs", 1'000},
     {"ns", 1}}};

std::string_view TakeDigits(std::string_view& text) {
  const std::size_t size =
      static_cast<std::size_t>(std::ranges::find_if_not(text, IsDigit) - text.begin());
  const std::string_view digits = text.substr(0, size);
  text.remove_prefix(size);
  return digits;
}

// A sum that remembers what it cannot hold.
class Sum {
 public:
  explicit Sum(std::int64_t most) : most_(most) {}

  // "12" and "5" of "12.5h".
  void Add(std::string_view whole, std::string_view fraction, std::int64_t unit) {
    std::int64_t count = 0;
    // No overflow: ten times 25 years are fewer nanoseconds than there are.
    for (const char digit : whole) {
      count = std::min(count * 10 + (digit - '0'), most_ / unit + 1);
    }
    Add(count * unit);
    std::int64_t part = unit;
    for (const char digit : fraction) {
      is_too_fine_ |= digit != '0' && (part == 0 || part % 10 != 0);
      part /= 10;
      Add(part * (digit - '0'));
    }
  }

  bool is_too_large() const { return is_too_large_; }
  // Only if it is not too large.
  bool is_too_fine() const { return is_too_fine_ || total_ % kMillisecond != 0; }
  std::int64_t total() const { return total_; }

 private:
  // No overflow: `value` is at most `most_` and an hour.
  void Add(std::int64_t value) {
    is_too_large_ |= value > most_ - total_;
    if (!is_too_large_) total_ += value;
  }

  std::int64_t most_;
  std::int64_t total_ = 0;
  bool is_too_large_ = false;
  bool is_too_fine_ = false;
};

}  // namespace

std::chrono::milliseconds ParseDuration(std::string_view text, std::chrono::hours max) {
  const auto refuse = [max](const std::string& kind) {
    return std::invalid_argument("a duration " + kind + "at most " + std::to_string(max.count()) +
                                 "h");
  };
  const auto malformed = [&] { return refuse("such as 500ms, 1.5s, 1m30s or 1h, "); };
  if (text.empty()) throw malformed();
  Sum sum(std::chrono::nanoseconds(max).count());
  for (bool first = true; !text.empty(); first = false) {
    const std::string_view whole = TakeDigits(text);
    std::string_view fraction;
    if (text.starts_with('.')) {
      text.remove_prefix(1);
      fraction = TakeDigits(text);
    }
    if (whole.empty() && fraction.empty()) throw malformed();
    std::int64_t factor = 1'000 * kMillisecond;
    if (!text.empty() || !first) {
      const auto unit =
          std::ranges::find_if(kUnits, [text](const auto& u) { return text.starts_with(u.first); });
      if (unit == kUnits.end()) throw malformed();
      text.remove_prefix(unit->first.size());
      factor = unit->second;
    }
    sum.Add(whole, fraction, factor);
  }
  if (sum.is_too_large()) throw refuse("of ");
  if (sum.is_too_fine()) throw refuse("of whole milliseconds, such as 1.5s or 1500ms, ");
  return std::chrono::milliseconds(sum.total() / kMillisecond);
}

}  // namespace sluice
