// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace sluice {

// Strict parsers of what users type. All of them throw std::invalid_argument whose what() says what
// would have been right ("a number from 0 to 65535"); the caller adds the flag and the value.

// A number in [min, max], decimal or, behind "0x", hexadecimal; no sign, no space, nothing after
// it. This is the one grammar of numbers in flags, variables, files and annotations.
std::uint64_t ParseNumber(std::string_view text, std::uint64_t min, std::uint64_t max);

// The same, digits only, for numbers that are part of something else, such as 10.0.0.0/8.
std::uint64_t ParseDecimal(std::string_view text, std::uint64_t min, std::uint64_t max);

// "true" or "false", in the words that Go's strconv.ParseBool takes, since manifests are written
// for that (1, t, T, TRUE, true, True and 0, f, F, FALSE, false, False), or on or off. This is the
// one grammar of booleans.
bool ParseBool(std::string_view text);

// Splits a comma-separated list. Spaces around an item are dropped, and so is an empty item at the
// end (a trailing comma); "" and " " are the empty list. An empty item elsewhere throws.
std::vector<std::string_view> SplitList(std::string_view text);

// `text` without the spaces and tabs at both ends.
std::string_view Trim(std::string_view text);

}  // namespace sluice
