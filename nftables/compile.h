// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include "capture/rule.h"

namespace sluice::nftables {

// `rules` as nf_tables can hold them, each rule one program (program.h), and in the one form in
// which they are compared with what the kernel has:
// - an owner that is not to be somebody becomes rules for those whom it is not to be, because
//   meta skuid and skgid match nothing of a packet without a socket;
// - a TPROXY has a rule behind it that drops what found no listener;
// - conditions that every packet meets go, rules that no packet meets too;
// - each match says one thing.
// Pure.
capture::TableRules Compile(const capture::TableRules& rules);
capture::FamilyRules Compile(const capture::FamilyRules& rules);
capture::RuleSet Compile(const capture::RuleSet& rules);

}  // namespace sluice::nftables
