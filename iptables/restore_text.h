// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>

#include "capture/rule.h"

namespace sluice::iptables {

// The rules of one family for `iptables-restore --noflush` (ip6tables-restore for IPv6): one
// section for each table that is not empty; "" if all are empty.
std::string RestoreText(const capture::FamilyRules& rules);

// Both families in one text for both iptables-restore and ip6tables-restore: a line for one family
// begins with -4 or -6, and the other program skips it.
std::string RestoreText(const capture::RuleSet& rules);

}  // namespace sluice::iptables
