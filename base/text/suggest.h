// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice {

// The name that the user who typed `typed` most probably meant: one or two letters away (more for
// long names), or else the only one that contains it. Empty when there is none.
std::string_view FindNearMiss(std::string_view typed, const std::vector<std::string_view>& names);

// "did you mean --exclude-uids?" for a mistyped flag ("--exclude-uid=1"); `names` are without
// dashes. `otherwise` when no name is close.
std::string SuggestFlag(std::string_view typed, const std::vector<std::string_view>& names,
                        std::string_view otherwise);

// "did you mean diff?" for words such as commands.
std::string SuggestWord(std::string_view typed, const std::vector<std::string_view>& names,
                        std::string_view otherwise);

}  // namespace sluice
