// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include "nftables/kernel.h"
#include "nftables/model/ruleset.h"

namespace sluice::nftables {

// All nf_tables rules in this namespace; creates nothing. Throws sluice::Error.
Ruleset ReadRuleset(Kernel& kernel);

}  // namespace sluice::nftables
