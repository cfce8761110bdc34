// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

namespace sluice::testing_support {

// A command line that must be refused before anything is done, and the exact message. The exit code
// is always 2.
struct BadInput {
  std::vector<std::string> args;
  std::vector<std::string> environment;  // "NAME=value"
  std::string message;                   // the complete Error::what()
};

const std::vector<BadInput>& BadInputs();

}  // namespace sluice::testing_support
