// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// sluice-cni: captures the traffic of pods as a chained CNI plugin, and installs itself. See
// --help.

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/standard_output.h"
#include "cmd/sluice-cni/options.h"
#include "cmd/sluice-cni/plugin.h"
#include "cmd/version.h"

namespace {

int Run(const std::vector<std::string>& arguments) {
  using namespace sluice;
  if (const auto text = AnswerCompletion(arguments, cni::DescribeProgram)) {
    return WriteOutput(*text), 0;
  }
  const cni::Options options = cni::ParseOptions(arguments);
  switch (options.verb) {
    case cni::Verb::kPlugin:
      return cni::RunPlugin([](const char* name) { return std::getenv(name); });
    case cni::Verb::kInstall:
      cni::Install(options.install);
      break;
    case cni::Verb::kUninstall:
      cni::Uninstall(options.install);
      break;
    case cni::Verb::kHelp:
      WriteOutput(cni::HelpText());
      break;
    case cni::Verb::kVersion:
      WriteOutput("sluice-cni " SLUICE_VERSION_TEXT "\n");
      break;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  sluice::ReserveStandardDescriptors();
  try {
    return Run({argv + 1, argv + argc});
  } catch (const sluice::Error& error) {
    std::fprintf(stderr, "sluice-cni: %s\n", error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sluice-cni: %s\n", error.what());
    return EXIT_FAILURE;
  }
}
