// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/text/program_text.h"
#include "cmd/sluice-proxy/options.h"

namespace sluice::proxy {

// A flag of the command line that sets a part of a `Target`.
template <typename Target>
struct FlagOf {
  const char* name;
  const char* value_name;  // nullptr: a switch
  const char* help;
  // Throws std::invalid_argument whose what() says what is expected.
  std::function<void(Target&, std::string_view)> set;
};

// One that is also a variable of the environment.
using Flag = FlagOf<Options>;

// The flags of mutual TLS, and what of them does not go without something else. Throws
// Error(kUsage).
const std::vector<Flag>& MtlsFlags();
void CheckMtls(const MtlsConfig& mtls);

// A duration longer than 0. Throws std::invalid_argument.
std::chrono::milliseconds Timeout(std::string_view text);

// Not empty. Throws std::invalid_argument.
std::string Directory(std::string_view text);

// An error of the command line.
Error Usage(std::string doing, std::string target, std::string why, std::string help = {});

// What a flag is called and what it is for.
struct FlagText {
  const char* name;
  const char* value_name;
  const char* help;
};
template <typename Target>
std::vector<FlagText> TextsOf(const std::vector<FlagOf<Target>>& flags) {
  std::vector<FlagText> out;
  for (const auto& flag : flags) out.push_back({flag.name, flag.value_name, flag.help});
  return out;
}

// The values by the names of their flags; a switch without one is "true". --help, -h and --version
// are flags, too, if `with_help`. Throws Error(kUsage), in which `doing` is what was being done.
std::map<std::string, std::string> ReadFlags(const std::vector<FlagText>& flags, bool with_help,
                                             const std::vector<std::string>& arguments,
                                             const char* doing);

// Throws Error(kUsage) that names `source` ("--mode", or a variable) and the value.
template <typename Target>
void SetFlag(const FlagOf<Target>& flag, Target& target, const std::string& source,
             const std::string& value) {
  try {
    flag.set(target, value);
  } catch (const std::invalid_argument& error) {
    throw Usage("read " + source, "value \"" + value + "\"",
                "expected " + std::string(error.what()));
  }
}

// How --help and completions show `flags`.
OptionGroup Describe(std::string title, const std::vector<FlagText>& flags);

}  // namespace sluice::proxy
