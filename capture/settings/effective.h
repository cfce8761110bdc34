// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>

#include "capture/settings/init_config.h"
#include "capture/settings/settings.h"

namespace sluice::capture {

// Whether the program was built with the iptables backend.
enum class IptablesBuild : bool { kNotIn, kIn };

// What --print-config prints: one JSON object; for each key the given value, where it was given,
// and its effective value: names as numbers, lists merged, other settings taken into account.
// `config` was made from `settings`.
std::string DescribeSettings(const Settings& settings, const InitConfig& config,
                             IptablesBuild iptables = IptablesBuild::kIn);

}  // namespace sluice::capture
