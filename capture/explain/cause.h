// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>

#include "capture/explain/model.h"

namespace sluice::capture::explain {

// Fills `flag` and `why` of each Sluice rule: the configuration flag that causes such a rule, with
// the part of its value that this rule stands for ("--proxy-uid=1337"). It goes by the rules alone,
// as they are written by capture_rules.cc, so that installed rules have their causes too. A rule
// that every configuration has has no flag, and says so in `why`.
void NameCauses(ModelTable& table);

// What could be changed to have it otherwise, of a flag as above; empty where nothing is known.
std::string AdviceFor(std::string_view flag, bool captured);

}  // namespace sluice::capture::explain
