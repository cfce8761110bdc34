// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/text/program_text.h"

namespace sluice::capture {

// A value as it was typed, and where: "--envoy-port", "ENVOY_PORT in the environment".
struct Setting {
  std::string value;
  std::string origin;  // empty: the default

  bool is_default() const { return origin.empty(); }
};

// What is to be done.
enum class Command { kApply, kDiff, kDoctor, kExplain, kGraph, kShow, kVerify, kHelp, kVersion };

// Every option of the table with its effective value: flags win over the environment, that over
// the configuration file, that over defaults.
struct Settings {
  Command command = Command::kApply;
  std::vector<Setting> values;  // in the order of Options()
  // Oddities that are not errors, such as a flag given twice.
  std::vector<std::string> warnings;
  // What was asked for and has no meaning here: worth a line, no warning.
  std::vector<std::string> notes;

  // `name` is one of the table's.
  const Setting& Get(std::string_view name) const;
  const std::string& Text(std::string_view name) const { return Get(name).value; }
  // What to call the setting in a message: where it stands, or its flag when that is nowhere.
  std::string Origin(std::string_view name) const;
  // Throws Error(kUsage) for what ParseBool (base/parse.h) does not take.
  bool Bool(std::string_view name) const;
};

// Reads a variable of the environment; nullptr when it is not set.
using Environment = std::function<const char*(const char*)>;

// `arguments` without the program's name. Throws Error(kUsage) naming the flag, the value and what
// would be right.
Settings ParseCommandLine(const std::vector<std::string>& arguments,
                          const Environment& environment);

// "diff", "show" and so on.
std::vector<std::string_view> CommandNames();

// What --help prints.
std::string HelpText();

// The command line, for --help and for shells.
ProgramText DescribeProgram();

// The Error for a value of which `part`, or all, cannot be used. `expected` completes "expected
// ...".
[[noreturn]] void RefuseValue(const Settings& settings, std::string_view name,
                              std::string_view part, std::string_view expected);

}  // namespace sluice::capture
