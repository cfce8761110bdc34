// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/text/utc_time.h"

#include <array>
#include <cstdio>
#include <ctime>

namespace sluice {

std::string UtcTime(std::chrono::system_clock::time_point time, int digits) {
  using std::chrono::floor;
  const auto whole = floor<std::chrono::seconds>(time);
  const std::time_t seconds = std::chrono::system_clock::to_time_t(whole);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  std::array<char, 48> date{};
  std::string out(date.data(), std::strftime(date.data(), date.size(), "%Y-%m-%dT%H:%M:%S", &utc));
  if (digits > 0) {
    const auto micros = floor<std::chrono::microseconds>(time - whole).count();
    std::array<char, 16> fraction{};
    std::snprintf(fraction.data(), fraction.size(), ".%06d", static_cast<int>(micros));
    out.append(fraction.data(), static_cast<std::size_t>(digits) + 1);
  }
  return out + "Z";
}

}  // namespace sluice
