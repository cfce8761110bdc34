// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace sluice {

// Strict parsers of what users type. All of them throw std::invalid_argument whose what() says what
// would have been right ("a number from 0 to 65535"); the caller adds the flag and the value.

// A decimal number in [min, max]: digits only; no sign, no space, nothing after it.
std::uint64_t ParseNumber(std::string_view text, std::uint64_t min, std::uint64_t max);

// Splits a comma-separated list. Spaces around an item are dropped, and so is an empty item at the
// end (a trailing comma); "" and " " are the empty list. An empty item elsewhere throws.
std::vector<std::string_view> SplitList(std::string_view text);

// `text` without the spaces and tabs at both ends.
std::string_view Trim(std::string_view text);

}  // namespace sluice
