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

}  // namespace sluice::iptables
