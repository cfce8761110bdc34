// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace sluice {

// Strict parsers of user input. All throw std::invalid_argument whose what() says what was expected
// ("a number from 0 to 65535"); the caller adds the flag and the value.

// A number in [min, max], decimal or, after "0x", hexadecimal; no sign, no space, nothing after it.
// All flags, variables, files and annotations use this grammar of numbers.
std::uint64_t ParseNumber(std::string_view text, std::uint64_t min, std::uint64_t max);

// The same, decimal digits only, for numbers inside something else, such as 10.0.0.0/8.
std::uint64_t ParseDecimal(std::string_view text, std::uint64_t min, std::uint64_t max);

// "true" or "false" in the words of Go's strconv.ParseBool, for which manifests are written (1, t,
// T, TRUE, true, True and 0, f, F, FALSE, false, False), or on or off. All booleans use this
// grammar.
bool ParseBool(std::string_view text);

// Splits a comma-separated list. Spaces around an item are dropped, and so is an empty last item (a
// trailing comma); "" and " " are the empty list. An empty item elsewhere throws.
std::vector<std::string_view> SplitList(std::string_view text);

// Whether `variable` is one that Kubernetes sets in every container of a namespace that has a
// Service of that name (enableServiceLinks): ENVOY_PORT=tcp://10.0.0.1:80 for one called envoy. It
// says nothing about the program.
bool IsServiceLink(std::string_view variable, std::string_view value);

// `text` without leading and trailing spaces and tabs.
std::string_view Trim(std::string_view text);

}  // namespace sluice
