// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// sluice-init: captures the traffic of a network namespace. See --help.

#include <malloc.h>

#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/standard_output.h"
#include "cmd/sluice-init/run.h"

int main(int argc, char** argv) {
  sluice::ReserveStandardDescriptors();
  // Keep freed memory, since the process ends soon: the kernel's answers need buffers of 32 KiB,
  // and glibc otherwise returns memory above 128 KiB at each free, or maps it anew each time.
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TOP_PAD, 256 << 10);
  std::vector<std::string> arguments(argv + 1, argv + argc);
  // A link of this name is installed. As a word in front it means the same.
  constexpr std::string_view kCleans = "istio-clean-iptables";
  if (std::string_view(argv[0]).ends_with(kCleans)) arguments.emplace(arguments.begin(), kCleans);
  return sluice::init::Run(arguments, [](const char* name) { return std::getenv(name); });
}
