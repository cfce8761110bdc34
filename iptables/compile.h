// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include "capture/rule.h"

namespace sluice::iptables {

// `rules` as x_tables can hold them. x_tables has no match for a list of ranges: a short list
// becomes one rule for each range, a long one a tree of chains (range_chains.h), and the rules
// after it move to the chain that the list names for them. Everything else is unchanged. Pure.
//
// Throws std::invalid_argument for a long list in a rule that has other conditions, or that has
// rules after it and names no chain for them.
capture::TableRules Compile(const capture::TableRules& rules);
capture::FamilyRules Compile(const capture::FamilyRules& rules);
capture::RuleSet Compile(const capture::RuleSet& rules);

// The rule without conditions that every packet meets: an address in 0.0.0.0/0, a port from 0 to
// 65535. The kernel does not keep such conditions, so rules are compared in this form.
capture::Rule Canonical(capture::Rule rule);

}  // namespace sluice::iptables
