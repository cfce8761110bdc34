// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/text/program_text.h"
#include "cmd/sluice-proxy/options.h"

namespace sluice::proxy {

// One flag of the command line, which is also a variable of the environment.
struct Flag {
  const char* name;
  const char* value_name;  // nullptr: a switch
  const char* help;
  // Throws std::invalid_argument whose what() says what is expected.
  std::function<void(Options&, std::string_view)> set;
};

// The flags of mutual TLS, and what of them does not go without something else. Throws
// Error(kUsage).
const std::vector<Flag>& MtlsFlags();
void CheckMtls(const MtlsConfig& mtls);

// A duration longer than 0. Throws std::invalid_argument.
std::chrono::milliseconds Timeout(std::string_view text);

// An error of the command line.
Error Usage(std::string doing, std::string target, std::string why, std::string help = {});

// How --help and completions show `flags`.
OptionGroup Describe(std::string title, const std::vector<Flag>& flags);

}  // namespace sluice::proxy
