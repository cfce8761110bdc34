// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/cidr.h"
#include "capture/rule.h"

namespace sluice::iptables {

// Up to here a list is walked rule by rule, as the reference tool does. A rule costs a new
// connection some 10 ns and set-up some 10 us, so 32 of them are within 3 %.
inline constexpr std::size_t kLinearRanges = 32;

// Where a compiled list leads.
struct RangeTargets {
  capture::Target inside;    // for a packet whose address is in one of the ranges
  std::string outside = {};  // the chain to go on in for any other; empty: back to the caller
};

// Compiles `ranges` (of one family, aggregated) into rules at the end of `chain`, and, when they
// are more than kLinearRanges, into a tree of further chains named `prefix`_1, `prefix`_2, ...
// appended to `chains`: each level looks at up to three more bits, so a packet meets a number of
// rules that grows with the logarithm of the list's length.
//
// Chains of the tree are entered with -g. So `chain` must end behind this, and capture::Return
// inside the tree leaves `chain` altogether.
void AppendRanges(const std::vector<Cidr>& ranges, capture::RangeOf of, const RangeTargets& targets,
                  const std::string& prefix, capture::Chain& chain,
                  std::vector<capture::Chain>& chains);

}  // namespace sluice::iptables
