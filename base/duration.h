// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <string_view>

namespace sluice {

// A duration as users type it: whole numbers with units, as in "500ms", "10s", "1m30s" or "2h"; a
// number alone is in seconds. This is the one grammar of all flags and annotations. Throws
// std::invalid_argument, whose what() says what is right, for anything else and for more than
// `max`.
std::chrono::milliseconds ParseDuration(std::string_view text, std::chrono::hours max);

}  // namespace sluice
