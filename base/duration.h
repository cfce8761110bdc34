// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <string_view>

namespace sluice {

// A duration as users type it: whole numbers with units, as in "500ms", "10s", "1m30s" or "2h"; a
// plain number is in seconds. All flags and annotations use this grammar. Throws
// std::invalid_argument for anything else and for more than `max`; its what() says what is
// expected.
std::chrono::milliseconds ParseDuration(std::string_view text, std::chrono::hours max);

}  // namespace sluice
