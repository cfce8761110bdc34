// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/cidr.h"
#include "capture/rule.h"

namespace sluice::iptables {

// Up to this length a list is tested rule by rule, as in the reference tool. A rule costs a new
// connection some 10 ns and set-up some 10 us, so the cost of 32 is within 3 %.
inline constexpr std::size_t kLinearRanges = 32;

// Where a compiled list leads.
struct RangeTargets {
  capture::Target inside;    // for packets with an address in one of the ranges
  std::string outside = {};  // the chain for all others; empty: back to the caller
};

// Compiles `ranges` (of one family, aggregated) into rules at the end of `chain`. If there are more
// than kLinearRanges, they become a tree of chains named `prefix`_1, `prefix`_2, ..., appended to
// `chains`. Each level tests up to three more bits, so the number of rules that a packet meets
// grows with the logarithm of the list's length.
//
// The tree is entered with -g. So `chain` must end after these rules, and capture::Return inside
// the tree leaves `chain` altogether.
void AppendRanges(const std::vector<Cidr>& ranges, capture::RangeOf of, const RangeTargets& targets,
                  const std::string& prefix, capture::Chain& chain,
                  std::vector<capture::Chain>& chains);

}  // namespace sluice::iptables
