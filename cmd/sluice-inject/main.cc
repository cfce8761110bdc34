// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// sluice-inject: puts sluice-init and sluice-proxy into manifests. See --help.

#include <string>
#include <vector>

#include "base/standard_output.h"
#include "cmd/sluice-inject/run.h"

int main(int argc, char** argv) {
  sluice::ReserveStandardDescriptors();
  return sluice::inject::Run(std::vector<std::string>(argv + 1, argv + argc));
}
