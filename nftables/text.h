// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>

#include "capture/rule.h"

namespace sluice::nftables {

// `rules`, compiled (compile.h), in the syntax of nft(8): loading it with "nft -f" makes the same
// rules as Sluice does, whether or not there are rules already. Pure.
std::string NftText(const capture::RuleSet& rules);

// One rule, without its chain: "ip daddr 10.0.0.0/8 counter return".
std::string NftText(const capture::Rule& rule, Family family, capture::Table table);

}  // namespace sluice::nftables
