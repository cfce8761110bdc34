// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// sluice-netns: makes pod-like network namespaces by hand and runs programs in them.

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/standard_output.h"
#include "base/text/suggest.h"
#include "cmd/version.h"
#include "commands.h"

namespace {

void PrintUsage(std::ostream& out) {
  out << "usage: sluice-netns COMMAND [ARGUMENT]... | --help | --version\n"
         "NAME is a namespace of `ip netns`, an absolute path, or pid:N.\n\n";
  for (const auto& command : sluice::netns::Subcommands()) {
    out << "  " << command.name << ' ' << command.usage << "\n      " << command.meaning << '\n';
  }
}

int Run(const std::vector<std::string>& words) {
  const auto commands = sluice::netns::Subcommands();
  if (!words.empty() && (words[0] == "--help" || words[0] == "-h")) {
    PrintUsage(std::cout);
    return EXIT_SUCCESS;
  }
  if (!words.empty() && words[0] == "--version") {
    std::cout << "sluice-netns " SLUICE_VERSION_TEXT "\n";
    return EXIT_SUCCESS;
  }
  const auto found = std::ranges::find_if(
      commands, [&](const auto& each) { return !words.empty() && each.name == words[0]; });
  if (found == commands.end() || words.size() - 1 < found->min_arguments ||
      words.size() - 1 > found->max_arguments) {
    PrintUsage(std::cerr);
    if (found == commands.end() && !words.empty()) {
      std::vector<std::string_view> names = {"--help", "--version"};
      for (const auto& command : commands) names.push_back(command.name);
      std::cerr << "\nsluice-netns: there is no command \"" << words[0] << "\"; "
                << sluice::SuggestWord(words[0], names, "see above") << '\n';
    }
    return static_cast<int>(sluice::ErrorKind::kUsage);
  }
  return found->run(sluice::netns::Arguments(words).subspan(1));
}

}  // namespace

int main(int argc, char** argv) {
  sluice::ReserveStandardDescriptors();
  try {
    const int code = Run({argv + 1, argv + argc});
    sluice::FlushOutput();
    return code;
  } catch (const sluice::Error& error) {
    std::cerr << "sluice-netns: " << error.what() << '\n';
    return error.exit_code();
  } catch (const std::exception& error) {
    std::cerr << "sluice-netns: " << error.what() << '\n';
    return EXIT_FAILURE;
  }
}
