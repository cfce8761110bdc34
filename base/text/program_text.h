// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

// A program's command line, for help texts and shell completion.

struct OptionText {
  std::string name;  // "envoy-port"
  char letter = 0;
  // Its value: "PORT"; FILE and DIRECTORY complete as paths; "auto|on|off" lists all choices. Empty
  // for a switch.
  std::string value;
  std::string help;
};

struct OptionGroup {
  std::string title;  // as in the manual
  std::vector<OptionText> options;
};

struct CommandText {
  std::string name;
  std::string help;
};

struct ProgramText {
  std::string name;
  std::vector<std::string> aliases;
  std::vector<CommandText> commands;
  std::vector<OptionGroup> groups;
};

// The options by group, in lines of at most 79 characters, each ending in a newline.
std::string OptionHelp(const ProgramText& program);

// `text` in lines of at most 79 characters, each indented by `indent` spaces.
std::string Wrapped(std::string_view text, std::size_t indent);

// The completion script of the program for a shell ("bash", "zsh" or "fish"); nothing for any other
// shell.
std::optional<std::string> Completion(const ProgramText& program, std::string_view shell);

// Handles `completion SHELL`, which every program accepts: returns what to print, or nothing for
// any other command line. Throws Error(kUsage) for an unknown shell.
std::optional<std::string> AnswerCompletion(const std::vector<std::string>& arguments,
                                            ProgramText (*describe)());

// The arguments with "=true" behind each of these switches (names without dashes): Boost would take
// the word after a switch for its value.
std::vector<std::string> WithSwitchesSet(std::vector<std::string> arguments,
                                         const std::vector<std::string_view>& switches);

}  // namespace sluice
