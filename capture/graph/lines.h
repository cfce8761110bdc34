// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

// What the formats share about setting text. Texts are valid UTF-8, as in a Graph.
namespace sluice::capture::graph {

// In columns of a font of one width; characters from Hangul Jamo on (U+1100) are taken for wide.
std::size_t Columns(std::string_view text);

// Broken at spaces into lines of at most `columns`, a longer word inside; at least one line.
std::vector<std::string> Broken(std::string_view text, std::size_t columns);

// By what a language names the node of a panel: "a3", "b0".
std::string NodeName(std::size_t panel, std::size_t node);

// Of the rules in a box and of the conditions at an arrow.
inline constexpr std::size_t kRuleColumns = 54;
inline constexpr std::size_t kConditionColumns = 36;

}  // namespace sluice::capture::graph
