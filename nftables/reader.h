// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include "nftables/kernel.h"
#include "nftables/ruleset.h"

namespace sluice::nftables {

// Everybody's rules in nf_tables of this namespace; makes nothing. Throws sluice::Error.
Ruleset ReadRuleset(Kernel& kernel);

}  // namespace sluice::nftables
