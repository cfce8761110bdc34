// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

// The command line of a program, for people and for their shells.

struct OptionText {
  std::string name;  // "envoy-port"
  char letter = 0;
  // What it takes: "PORT"; FILE and DIRECTORY are such; "auto|on|off" are all there are. Empty for
  // a switch.
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

// The options by group, in lines of at most 79 characters, each line with its end.
std::string OptionHelp(const ProgramText& program);

// `text` in lines of at most 79 characters, each behind `indent` spaces.
std::string Wrapped(std::string_view text, std::size_t indent);

// What the shell ("bash", "zsh" or "fish") reads to complete the program's command line; nothing
// for another shell.
std::optional<std::string> Completion(const ProgramText& program, std::string_view shell);

// Whether the command line is `completion SHELL`, which every program answers; then what it prints.
// Throws Error(kUsage) for a shell that is not known.
std::optional<std::string> AnswerCompletion(const std::vector<std::string>& arguments,
                                            ProgramText (*describe)());

}  // namespace sluice
