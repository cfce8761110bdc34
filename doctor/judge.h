// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <vector>

#include "doctor/facts.h"
#include "doctor/finding.h"

namespace sluice::doctor {

// Every check, worst first. Pure.
//
// It goes by the rules that are installed. Where there are none, by those that the options of the
// run would install: what is only missing yet, such as the proxy, is a note then.
std::vector<Finding> Judge(const Facts& facts);

}  // namespace sluice::doctor
