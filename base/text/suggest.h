// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice {

// The one of `names` that somebody who typed `typed` has most probably meant: one or two letters
// away (more for long names), or else the only one that has it as a part. Empty when there is none.
std::string_view FindNearMiss(std::string_view typed, const std::vector<std::string_view>& names);

// "did you mean --exclude-uids?", where `typed` is a flag as it was typed ("--exclude-uid=1") and
// `names` are without dashes; `otherwise` when nothing comes near.
std::string SuggestFlag(std::string_view typed, const std::vector<std::string_view>& names,
                        std::string_view otherwise);

// "did you mean diff?" of words such as commands.
std::string SuggestWord(std::string_view typed, const std::vector<std::string_view>& names,
                        std::string_view otherwise);

}  // namespace sluice
