// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// sluice-cni: captures the traffic of pods as a chained CNI plugin. A runtime starts it.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/standard_output.h"
#include "cmd/sluice-cni/plugin.h"
#include "cmd/version.h"

int main(int argc, char** argv) {
  if (argc > 1) {
    const bool version = argc == 2 && std::strcmp(argv[1], "--version") == 0;
    const bool help = argc == 2 && std::strcmp(argv[1], "--help") == 0;
    if (version) return sluice::WriteOutput("sluice-cni " SLUICE_VERSION_TEXT "\n"), 0;
    const std::string usage =
        "usage: CNI_COMMAND=COMMAND sluice-cni <CONFIGURATION\n"
        "       sluice-cni --help | --version\n"
        "\n"
        "A chained CNI plugin (0.3.1 to 1.1.0): captures the traffic of pods that have\n"
        "the annotation sluice.dev/capture, and leaves all others alone. A container\n"
        "runtime starts it; its variables and its input are those of the specification.\n";
    if (help) return sluice::WriteOutput(usage), 0;
    std::fputs(usage.c_str(), stderr);
    return 2;
  }
  return sluice::cni::RunPlugin([](const char* name) { return std::getenv(name); });
}
