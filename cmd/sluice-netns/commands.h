// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::netns {

// The words after a subcommand's name.
using Arguments = std::span<const std::string>;

struct Subcommand {
  std::string_view name;
  std::string_view usage;    // its arguments
  std::string_view meaning;  // one line for --help
  std::size_t min_arguments;
  std::size_t max_arguments;
  // Returns the exit status. Throws sluice::Error.
  int (*run)(Arguments arguments);
};

// In the order in which --help shows them.
std::span<const Subcommand> Subcommands();

}  // namespace sluice::netns
