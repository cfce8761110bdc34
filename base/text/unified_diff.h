// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

namespace sluice {

// The difference between two lists of lines as diff -u writes it, with three lines of context and
// `from` and `to` as the names of the two; "" when they are equal.
std::string UnifiedDiff(const std::vector<std::string>& have, const std::vector<std::string>& want,
                        const std::string& from, const std::string& to);

}  // namespace sluice
