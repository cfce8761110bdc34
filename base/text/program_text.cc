// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/text/program_text.h"

#include <algorithm>

#include "base/error.h"

namespace sluice {
namespace {

// One less than a terminal's 80: some print an empty line after a full one.
constexpr std::size_t kColumns = 79;
constexpr std::size_t kHelpIndent = 10;

std::string Replaced(std::string text, std::string_view what, std::string_view with) {
  for (std::size_t at = text.find(what); at != std::string::npos;
       at = text.find(what, at + with.size())) {
    text.replace(at, what.size(), with);
  }
  return text;
}

// For single quotes in bash and zsh.
std::string Quoted(const std::string& text) { return "'" + Replaced(text, "'", "'\\''") + "'"; }

std::string FishQuoted(const std::string& text) {
  return "'" + Replaced(Replaced(text, "\\", "\\\\"), "'", "\\'") + "'";
}

bool TakesFile(const OptionText& option) {
  return option.value == "FILE" || option.value == "PATH" || option.value == "DIRECTORY";
}

// "auto|on|off" as "auto on off".
std::string Choices(const OptionText& option) {
  if (option.value.find('|') == std::string::npos) return {};
  return Replaced(option.value, "|", " ");
}

std::string Head(const OptionText& option) {
  std::string out = option.letter == 0 ? "      " : std::string("  -") + option.letter + ", ";
  out += "--" + option.name;
  if (!option.value.empty()) out += " " + option.value;
  return out;
}

template <typename Visit>
void ForEachOption(const ProgramText& program, Visit visit) {
  for (const OptionGroup& group : program.groups) {
    for (const OptionText& option : group.options) visit(option);
  }
}

std::string Words(const ProgramText& program) {
  std::string out;
  for (const CommandText& command : program.commands) {
    out += (out.empty() ? "" : " ") + command.name;
  }
  return out;
}

// The name of the shell function: _sluice_init.
std::string FunctionOf(const ProgramText& program) {
  return "_" + Replaced(program.name, "-", "_");
}

std::string AllNames(const ProgramText& program) {
  std::string out = program.name;
  for (const std::string& alias : program.aliases) out += " " + alias;
  return out;
}

std::string Bash(const ProgramText& program) {
  const std::string name = FunctionOf(program);
  std::string flags;
  std::string cases;
  ForEachOption(program, [&](const OptionText& option) {
    flags += (flags.empty() ? "" : " ") + ("--" + option.name);
    if (option.value.empty()) return;
    std::string pattern = "--" + option.name;
    if (option.letter != 0) pattern += std::string("|-") + option.letter;
    std::string reply;
    if (const std::string choices = Choices(option); !choices.empty()) {
      reply = "mapfile -t COMPREPLY < <(compgen -W " + Quoted(choices) + " -- \"$current\")";
    } else if (TakesFile(option)) {
      reply =
          "compopt -o filenames 2>/dev/null || :; mapfile -t COMPREPLY < <(compgen -f -- "
          "\"$current\")";
    } else {
      reply = ":";  // a free-form value: nothing to suggest
    }
    cases += "    " + pattern + ") " + reply + "; return ;;\n";
  });
  return "# bash completion of " + AllNames(program) + "; made by `" + program.name +
         " completion bash`\n" + name +
         "() {\n"
         "  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}\n"
         "  COMPREPLY=()\n"
         "  # bash splits --flag=value at the equals sign.\n"
         "  if [[ $current == = ]]; then\n"
         "    current=\n"
         "  elif [[ $previous == = ]]; then\n"
         "    previous=${COMP_WORDS[COMP_CWORD - 2]}\n"
         "  fi\n"
         "  case $previous in\n" +
         cases +
         "  esac\n"
         "  if [[ $current == -* ]]; then\n"
         "    mapfile -t COMPREPLY < <(compgen -W " +
         Quoted(flags) +
         " -- \"$current\")\n"
         "  else\n"
         "    mapfile -t COMPREPLY < <(compgen -W " +
         Quoted(Words(program)) +
         " -- \"$current\")\n"
         "  fi\n"
         "}\n"
         "complete -F " +
         name + " " + AllNames(program) + "\n";
}

// For the brackets of an _arguments specification.
std::string ZshText(const std::string& text) {
  return Replaced(Replaced(Replaced(Replaced(text, "\\", "\\\\"), "[", "\\["), "]", "\\]"), ":",
                  "\\:");
}

std::string Zsh(const ProgramText& program) {
  std::string out = "#compdef " + AllNames(program) + "\n# made by `" + program.name +
                    " completion zsh`\n_arguments -s -S";
  ForEachOption(program, [&](const OptionText& option) {
    std::string action;
    if (!option.value.empty()) {
      const std::string choices = Choices(option);
      action = ":" + Replaced(option.value, "|", " or ") + ":";
      action += !choices.empty() ? "(" + choices + ")" : TakesFile(option) ? "_files" : " ";
    }
    const std::string rest = "[" + ZshText(option.help) + "]" + action;
    out += " \\\n  " + Quoted("*--" + option.name + (option.value.empty() ? "" : "=") + rest);
    if (option.letter == 0) return;
    out += " \\\n  " +
           Quoted(std::string("*-") + option.letter + (option.value.empty() ? "" : "+") + rest);
  });
  if (!program.commands.empty()) out += " \\\n  " + Quoted("1:command:(" + Words(program) + ")");
  return out + "\n";
}

std::string Fish(const ProgramText& program) {
  std::string out = "# fish completion of " + AllNames(program) + "; made by `" + program.name +
                    " completion fish`\n";
  std::vector<std::string> names = {program.name};
  names.insert(names.end(), program.aliases.begin(), program.aliases.end());
  for (const std::string& name : names) {
    const std::string start = "complete -c " + name;
    out += start + " -f\n";
    for (const CommandText& command : program.commands) {
      out += start + " -n 'not __fish_seen_subcommand_from " + Words(program) + "' -a " +
             command.name + " -d " + FishQuoted(command.help) + "\n";
    }
    ForEachOption(program, [&](const OptionText& option) {
      out += start + " -l " + option.name;
      if (option.letter != 0) out += std::string(" -s ") + option.letter;
      if (const std::string choices = Choices(option); !choices.empty()) {
        out += " -x -a " + FishQuoted(choices);
      } else if (TakesFile(option)) {
        out += " -r -F";
      } else if (!option.value.empty()) {
        out += " -x";
      }
      out += " -d " + FishQuoted(option.help) + "\n";
    });
  }
  return out;
}

}  // namespace

std::string Wrapped(std::string_view text, std::size_t indent) {
  const std::string start(indent, ' ');
  std::string out;
  while (!text.empty()) {
    std::string_view line = text;
    if (const std::size_t room = kColumns - indent; text.size() > room) {
      std::size_t end = text.rfind(' ', room);
      // A word longer than a line.
      if (end == std::string_view::npos) end = std::min(text.find(' '), text.size());
      line = text.substr(0, end);
    }
    out += start + std::string(line) + "\n";
    text.remove_prefix(std::min(line.size() + 1, text.size()));
  }
  return out;
}

std::string OptionHelp(const ProgramText& program) {
  std::string out;
  for (const OptionGroup& group : program.groups) {
    if (group.options.empty()) continue;
    out += (out.empty() ? "" : "\n") + group.title + ":\n";
    for (const OptionText& option : group.options) {
      out += Head(option) + "\n" + Wrapped(option.help, kHelpIndent);
    }
  }
  return out;
}

std::optional<std::string> Completion(const ProgramText& program, std::string_view shell) {
  if (shell == "bash") return Bash(program);
  if (shell == "zsh") return Zsh(program);
  if (shell == "fish") return Fish(program);
  return std::nullopt;
}

std::optional<std::string> AnswerCompletion(const std::vector<std::string>& arguments,
                                            ProgramText (*describe)()) {
  if (arguments.size() != 2 || arguments[0] != "completion") return std::nullopt;
  auto out = Completion(describe(), arguments[1]);
  if (out) return out;
  throw Error(ErrorKind::kUsage, {.doing = "print the completion of a shell",
                                  .target = arguments[1],
                                  .why = "that shell is not known",
                                  .help = "there are bash, zsh and fish"});
}

std::vector<std::string> WithSwitchesSet(std::vector<std::string> arguments,
                                         const std::vector<std::string_view>& switches) {
  for (std::string& word : arguments) {
    if (!word.starts_with("--")) continue;
    const std::string_view name = std::string_view(word).substr(2);
    if (std::ranges::find(switches, name) != switches.end()) word += "=true";
  }
  return arguments;
}

}  // namespace sluice
