// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

#include "base/text/program_text.h"
#include "cmd/sluice-cni/install.h"

namespace sluice::cni {

enum class Verb { kPlugin, kInstall, kUninstall, kHelp, kVersion };

struct Options {
  Verb verb = Verb::kPlugin;  // no arguments: called by a runtime
  InstallOptions install;
};

// `arguments` without the program's name. Throws Error(kUsage).
Options ParseOptions(const std::vector<std::string>& arguments);

// What --help prints.
std::string HelpText();

// The command line, for --help and shell completion.
ProgramText DescribeProgram();

}  // namespace sluice::cni
