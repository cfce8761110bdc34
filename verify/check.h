// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/ip_address.h"

namespace sluice::verify {

enum class CheckStatus { kOk, kFailed, kNotChecked };

// "ok", "failed", "not checked". Stable: machines read it.
std::string_view Name(CheckStatus status);

// One path of a configuration that --run-validation tried or could not try.
struct Check {
  Family family = Family::kIpv4;
  std::string path = {};  // "inbound", "exempt: outbound port 22", ...
  CheckStatus status = CheckStatus::kOk;
  std::string detail = {};  // what was seen; why it failed, or was not tried
};

// "12 checks passed, 1 failed, 2 not checked"; without the zeros.
std::string Summary(const std::vector<Check>& checks);

}  // namespace sluice::verify
