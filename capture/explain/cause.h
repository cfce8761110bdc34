// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>

#include "capture/explain/model.h"

namespace sluice::capture::explain {

// Fills `flag` and `why` of each Sluice rule: the configuration flag that causes it, with the part
// of the value that this rule is for ("--proxy-uid=1337"). Uses only the rules, as capture_rules.cc
// writes them, so that it also works for installed rules. A rule that every configuration has gets
// no flag, and `why` says so.
void NameCauses(ModelTable& table);

// How to change the result, for a flag as above; empty when not known.
std::string AdviceFor(std::string_view flag, bool captured);

}  // namespace sluice::capture::explain
