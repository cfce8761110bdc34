// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/text/program_text.h"

namespace sluice::capture {

// A value as typed, and its source: "--envoy-port", "ENVOY_PORT in the environment".
struct Setting {
  std::string value;
  std::string origin;  // empty: the default

  bool is_default() const { return origin.empty(); }
};

// What to do.
enum class Command {
  kApply,
  kDiff,
  kDoctor,
  kExplain,
  kGraph,
  kShow,
  kTrace,
  kVerify,
  kHelp,
  kVersion
};

// Every option of the table with its effective value: flags override the environment, which
// overrides the configuration file, which overrides defaults.
struct Settings {
  Command command = Command::kApply;
  std::vector<Setting> values;  // in the order of Options()
  // Oddities that are not errors, such as a flag given twice.
  std::vector<std::string> warnings;
  // Settings that have no effect here: worth a line in the log, but no warning.
  std::vector<std::string> notes;

  // `name` must be in the table.
  const Setting& Get(std::string_view name) const;
  const std::string& Text(std::string_view name) const { return Get(name).value; }
  // The setting's name in messages: its source, or its flag when it has none.
  std::string Origin(std::string_view name) const;
  // Throws Error(kUsage) for values that ParseBool (base/parse.h) does not accept.
  bool Bool(std::string_view name) const;
};

// Reads an environment variable; nullptr when it is not set.
using Environment = std::function<const char*(const char*)>;

// `arguments` without the program's name. Throws Error(kUsage) naming the flag, the value and what
// is expected.
Settings ParseCommandLine(const std::vector<std::string>& arguments,
                          const Environment& environment);

// "diff", "show" and so on.
std::vector<std::string_view> CommandNames();

// What --help prints.
std::string HelpText();

// The command line, for --help and shell completion.
ProgramText DescribeProgram();

// Throws the Error for a value that is wrong, wholly or in `part`. `expected` completes "expected
// ...".
[[noreturn]] void RefuseValue(const Settings& settings, std::string_view name,
                              std::string_view part, std::string_view expected);

}  // namespace sluice::capture
