// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include "capture/rule.h"

namespace sluice::iptables {

// `rules` as x_tables can hold them. It has no match for a list of ranges: a short list becomes one
// rule for each range, a long one a tree of further chains (range_chains.h), and the rules behind
// it move to the chain that the list names for that. The rest stays as it is. Pure.
//
// Throws std::invalid_argument for a long list in a rule that has other conditions, or that names
// no chain for the rules behind it and has some.
capture::TableRules Compile(const capture::TableRules& rules);
capture::FamilyRules Compile(const capture::FamilyRules& rules);
capture::RuleSet Compile(const capture::RuleSet& rules);

// The rule without the conditions that every packet meets: an address in 0.0.0.0/0, a port from 0
// to 65535. The kernel keeps such a condition as none, so that rules are compared in this form.
capture::Rule Canonical(capture::Rule rule);

}  // namespace sluice::iptables
