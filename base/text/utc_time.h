// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <string>

namespace sluice {

// A time in UTC as RFC 3339 has it, with so many digits of the second's fraction (0, 3 or 6), which
// are cut off, not rounded: "2026-11-26T19:20:00Z", "2026-11-26T19:20:00.042Z".
std::string UtcTime(std::chrono::system_clock::time_point time, int digits = 0);

}  // namespace sluice
