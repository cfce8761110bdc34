// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

// Text layout that the formats share. Texts are valid UTF-8, as in a Graph.
namespace sluice::capture::graph {

// The width in a monospaced font; characters from Hangul Jamo (U+1100) on count as wide.
std::size_t Columns(std::string_view text);

// Breaks at spaces into lines of at most `columns`, and inside longer words; at least one line.
std::vector<std::string> Broken(std::string_view text, std::size_t columns);

// The identifier of a panel's node in a graph language: "a3", "b0".
std::string NodeName(std::size_t panel, std::size_t node);

// The widths of rules in a box and of conditions at an arrow.
inline constexpr std::size_t kRuleColumns = 54;
inline constexpr std::size_t kConditionColumns = 36;

}  // namespace sluice::capture::graph
