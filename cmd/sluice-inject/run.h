// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

namespace sluice::inject {

// All of sluice-inject except main; returns the exit code.
int Run(const std::vector<std::string>& arguments);

}  // namespace sluice::inject
