// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <vector>

#include "doctor/facts.h"
#include "doctor/finding.h"

namespace sluice::doctor {

// Every check, worst first. Pure.
//
// Examines the installed rules. If there are none, it examines those that the run's options would
// install; whatever is just not there yet, such as the proxy, is then only a note.
std::vector<Finding> Judge(const Facts& facts);

}  // namespace sluice::doctor
