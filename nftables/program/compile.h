// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include "capture/rule.h"

namespace sluice::nftables {

// `rules` as nf_tables can hold them, each rule one program (program.h), in the form in which they
// are compared with the kernel's:
// - a negated owner becomes rules for the owners that are excluded, because meta skuid and skgid
// match nothing in a packet without a socket;
// - a TPROXY is followed by a rule that drops packets which found no listener;
// - conditions that every packet meets are removed, and so are rules that no packet meets;
// - each match has a single condition.
// Pure.
capture::TableRules Compile(const capture::TableRules& rules);
capture::FamilyRules Compile(const capture::FamilyRules& rules);
capture::RuleSet Compile(const capture::RuleSet& rules);

}  // namespace sluice::nftables
