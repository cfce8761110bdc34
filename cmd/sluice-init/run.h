// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

#include "capture/settings/settings.h"

namespace sluice::init {

// The program: carries out the command line, prints, and returns the exit code. `arguments` are
// without the program's name.
int Run(const std::vector<std::string>& arguments, const capture::Environment& environment);

}  // namespace sluice::init
