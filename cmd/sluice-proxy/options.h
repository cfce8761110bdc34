// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/text/program_text.h"
#include "proxy/config.h"

namespace sluice::proxy {

// The command line and environment of sluice-proxy, validated.
struct Options {
  ProxyConfig config;
  std::chrono::milliseconds drain_duration = std::chrono::seconds(45);
  bool allow_root = false;
  // Filters system calls and sets no_new_privs.
  bool seccomp = true;
  // Takes over the listening sockets of the running proxy.
  bool hand_over = false;
  // Also tells it to drain when this one is ready.
  bool stop_old = false;
  std::string log_level = "info";
  bool help = false;
  bool version = false;
};

// A variable's value by name; nullptr when it is not set.
using Environment = const char* (*)(const char* name);

// `arguments` without the program's name. A flag overrides its variable: SLUICE_PROXY_ and the
// flag's name in upper case with underscores. Throws sluice::Error of kind kUsage naming the flag,
// the value and what is expected.
Options ParseOptions(const std::vector<std::string>& arguments, Environment environment);

// What --help prints.
std::string HelpText();

// The command line, for --help and shell completion.
ProgramText DescribeProgram();

}  // namespace sluice::proxy
