// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::capture {

struct GivenFlag {
  std::size_t option;  // the position in Options()
  std::string value;
};

// What arguments say, before anybody asks whether it makes sense.
struct CommandLine {
  std::vector<GivenFlag> flags;    // in their order
  std::vector<std::string> words;  // what is neither a flag nor its value, such as "diff"
  bool help = false;
  bool version = false;
};

// Reads `arguments` (without the program's name) by the grammar for which manifests are written,
// that of istio-iptables' library of flags (pflag):
//   --flag=value  --flag value  -fvalue  -f=value  -f value   also with an empty value
//   --switch  --switch=false  -s  -s=false                    a switch never takes the next word
//   -stf value                                                letters of switches before another
//   --                                                        only words follow
// Unlike there, a flag is never the value of the one before it, whose own value was forgotten.
// Throws Error(kUsage) naming the flag.
CommandLine ReadCommandLine(const std::vector<std::string>& arguments);

// The error for a command line that has no meaning.
[[noreturn]] void RefuseCommandLine(std::string why, std::string help = "see --help");

// What `typed` could have meant: "did you mean --exclude-uids?", or `otherwise`.
std::string SuggestOption(std::string_view typed, std::string_view otherwise);

}  // namespace sluice::capture
