// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/settings/command_line.h"

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/text/suggest.h"
#include "capture/settings/option_table.h"

namespace sluice::capture {
namespace {

// The position in Options() of the option with that letter.
std::optional<std::size_t> FindLetter(char letter) {
  const auto found = std::ranges::find(Options(), letter, &OptionSpec::letter);
  if (letter == 0 || found == Options().end()) return {};
  return static_cast<std::size_t>(found - Options().begin());
}

// "--name=value" -> "name".
std::string_view NameIn(std::string_view word) { return word.substr(2, word.find('=') - 2); }

bool IsFlag(std::string_view word) {
  if (word.starts_with("--")) return FindOption(NameIn(word)) != nullptr;
  return word.size() > 1 && word[0] == '-' && FindLetter(word[1]).has_value();
}

[[noreturn]] void RefuseFlag(std::string_view flag) {
  RefuseCommandLine("there is no flag " + std::string(flag), SuggestOption(flag, "see --help"));
}

class Reader {
 public:
  explicit Reader(std::span<const std::string> rest) : rest_(rest) {}

  CommandLine Read() {
    while (!rest_.empty()) {
      const std::string_view word = Next();
      if (word == "--") {
        while (!rest_.empty()) out_.words.push_back(Next());
      } else if (word.starts_with("--")) {
        ReadName(word);
      } else if (word.size() > 1 && word[0] == '-') {
        ReadLetters(word.substr(1));
      } else {
        out_.words.emplace_back(word);
      }
    }
    return std::move(out_);
  }

 private:
  const std::string& Next() {
    const std::string& word = rest_.front();
    rest_ = rest_.subspan(1);
    return word;
  }

  void ReadName(std::string_view word) {
    const std::string_view name = NameIn(word);
    const bool has_value = name.size() + 2 < word.size();
    if (name == "help" || name == "version") {
      if (has_value) RefuseCommandLine("--" + std::string(name) + " takes no value");
      (name == "help" ? out_.help : out_.version) = true;
      return;
    }
    const std::size_t option = IndexOfOption(name);
    if (option == Options().size()) RefuseFlag(word.substr(0, name.size() + 2));
    if (has_value) {
      Add(option, word.substr(name.size() + 3));
    } else {
      AddWithoutEquals(option);
    }
  }

  // Letters without their dash.
  void ReadLetters(std::string_view letters) {
    while (!letters.empty()) {
      const char letter = letters[0];
      letters.remove_prefix(1);
      const auto option = FindLetter(letter);
      if (letter == 'h') {
        out_.help = true;
      } else if (!option) {
        RefuseFlag(std::string("-") + letter);
      } else if (letters.starts_with('=')) {
        return Add(*option, letters.substr(1));
      } else if (Options()[*option].kind == OptionKind::kText && !letters.empty()) {
        return Add(*option, letters);
      } else {
        AddWithoutEquals(*option);
      }
    }
  }

  void AddWithoutEquals(std::size_t option) {
    if (Options()[option].kind == OptionKind::kBool) return Add(option, "true");
    if (rest_.empty() || IsFlag(rest_.front())) {
      RefuseCommandLine(FlagOf(Options()[option]) + " has no value",
                        "give an empty value as --flag=; see --help");
    }
    Add(option, Next());
  }

  void Add(std::size_t option, std::string_view value) {
    out_.flags.push_back({option, std::string(value)});
  }

  std::span<const std::string> rest_;
  CommandLine out_;
};

}  // namespace

CommandLine ReadCommandLine(const std::vector<std::string>& arguments) {
  return Reader(arguments).Read();
}

void RefuseCommandLine(std::string why, std::string help) {
  throw Error(ErrorKind::kUsage, {.doing = "understand the command line",
                                  .target = {},
                                  .why = std::move(why),
                                  .help = std::move(help)});
}

std::string SuggestOption(std::string_view typed, std::string_view otherwise) {
  std::vector<std::string_view> names = OptionNames();
  names.insert(names.end(), {"help", "version"});
  return SuggestFlag(typed, names, otherwise);
}

}  // namespace sluice::capture
