// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>

#include "capture/rule.h"

namespace sluice::capture {

// The rule as iptables-legacy-save writes it after "-A CHAIN ", e.g. "-s 127.0.0.6/32 -o
// lo -j RETURN"; except for TPROXY, where save adds "--on-ip" with the family's
// unspecified address. iptables-restore accepts it. `ranges` says whether to cut a long
// list of ranges.
enum class Ranges { kFew, kAll };
std::string ToText(const Rule& rule, Ranges ranges = Ranges::kFew);

}  // namespace sluice::capture
