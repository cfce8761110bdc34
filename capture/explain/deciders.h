// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <vector>

#include "capture/explain/model.h"
#include "capture/explain/walk.h"
#include "capture/foreign.h"
#include "capture/rule.h"

// Foreign rules in nf_tables that decide about connections which Sluice's rules would capture. It
// makes connections that meet the conditions of each such rule, and walks them with and without it.
namespace sluice::capture::explain {

// `wanted`: the rules to be protected, of one family; `ours` is the model of the same rules, and
// `others` has the tables of others. Both models must be finished. Each rule is reported once, in
// the order of tables and chains. What lies beyond the limits of ways.h is not reported.
//
// A rule that is asked before Sluice's is reported for whatever it does to them. One behind, such
// as a filter in INPUT, is only reported if it drops captured connections that it would let pass
// without Sluice: other firewalls do what they did before.
std::vector<Obstruction> FindDeciders(const FamilyRules& wanted, const Model& ours,
                                      const Model& others, Host& host);

}  // namespace sluice::capture::explain
