// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>

#include "capture/settings/init_config.h"
#include "capture/settings/settings.h"

namespace sluice::capture {

// Whether the program can use the backend iptables.
enum class IptablesBuild : bool { kNotIn, kIn };

// What --print-config prints: one JSON object; each key has its value as it was given, where that
// was, and what it amounts to: names as numbers, lists merged, what other settings decide.
// `config` is made of `settings`.
std::string DescribeSettings(const Settings& settings, const InitConfig& config,
                             IptablesBuild iptables = IptablesBuild::kIn);

}  // namespace sluice::capture
