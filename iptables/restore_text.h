// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>

#include "capture/rule.h"

namespace sluice::iptables {

// The rules of one family for `iptables-restore --noflush` (ip6tables-restore for IPv6): one
// section for each table that is not empty; "" for none.
std::string RestoreText(const capture::FamilyRules& rules);

// Both families in one text that iptables-restore and ip6tables-restore both take: a line that only
// one of them may read begins with -4 or -6, which the other one skips.
std::string RestoreText(const capture::RuleSet& rules);

}  // namespace sluice::iptables
