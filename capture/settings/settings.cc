// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/settings/settings.h"

#include <algorithm>
#include <array>
#include <optional>
#include <stdexcept>

#include "base/error.h"
#include "base/parse.h"
#include "base/text/suggest.h"
#include "capture/settings/command_line.h"
#include "capture/settings/config_file.h"
#include "capture/settings/option_table.h"

namespace sluice::capture {
namespace {

constexpr std::array<std::pair<std::string_view, Command>, 7> kCommands = {{
    {"diff", Command::kDiff},
    {"doctor", Command::kDoctor},
    {"explain", Command::kExplain},
    {"graph", Command::kGraph},
    {"show", Command::kShow},
    {"trace", Command::kTrace},
    {"verify", Command::kVerify},
}};

auto FindCommand(std::string_view word) {
  return std::ranges::find(kCommands, word, [](const auto& entry) { return entry.first; });
}

bool IsBool(const std::string& word) {
  try {
    ParseBool(word);
    return true;
  } catch (const std::invalid_argument&) {
    return false;
  }
}

// A word that is not a flag's value.
[[noreturn]] void RefuseWord(const std::string& word) {
  std::string help =
      "commands are diff, doctor, explain, graph, show, trace and verify; a flag's value follows "
      "it";
  if (IsBool(word)) {
    help = "a switch takes its value after an equals sign, as in --dual-stack=false";
  } else if (FindCommand(word) == kCommands.end()) {
    std::vector<std::string_view> names = CommandNames();
    names.push_back("completion");
    help = SuggestWord(word, names, SuggestOption(word, help));
  }
  RefuseCommandLine("\"" + word + "\" is neither a flag's value nor a command", help);
}

Command CommandOf(const CommandLine& line) {
  if (line.version) return Command::kVersion;
  if (line.help) return Command::kHelp;
  if (line.words.empty()) return Command::kApply;
  const auto found = FindCommand(line.words.front());
  if (found == kCommands.end()) RefuseWord(line.words.front());
  if (line.words.size() > 1) RefuseWord(line.words[1]);
  return found->second;
}

// Set and not empty: in manifests an empty variable means "not set", and viper reads it so.
std::optional<Setting> FromEnvironment(const OptionSpec& option, const Environment& environment,
                                       std::vector<std::string>& notes) {
  const auto& others = option.other_variables;
  if (option.flag_only) return {};
  for (const char* const name : {option.variable.data(), others[0], others[1]}) {
    const char* const value = name == nullptr ? nullptr : environment(name);
    if (value == nullptr || *value == '\0') continue;
    std::string origin = std::string(name) + " in the environment";
    if (!IsServiceLink(name, value)) return Setting{value, std::move(origin)};
    notes.push_back(origin +
                    " is ignored: it is not a port, but what Kubernetes says of a Service");
  }
  return {};
}

// The last of a repeated flag counts, as in the reference tool.
std::optional<Setting> FromFlags(std::size_t option, const CommandLine& line,
                                 std::vector<std::string>& warnings) {
  const GivenFlag* last = nullptr;
  std::size_t times = 0;
  bool differ = false;
  for (const GivenFlag& flag : line.flags) {
    if (flag.option != option) continue;
    differ |= last != nullptr && last->value != flag.value;
    last = &flag;
    ++times;
  }
  if (last == nullptr) return {};
  const std::string flag = FlagOf(Options()[option]);
  if (differ) {
    warnings.push_back(flag + " is given " + std::to_string(times) +
                       " times; the last one counts: \"" + last->value + "\"");
  }
  return Setting{last->value, flag};
}

void RefuseUnsupported(const Settings& settings) {
  for (const OptionSpec& option : Options()) {
    if (*option.refused == '\0' || settings.Get(option.name).is_default()) continue;
    if (option.kind == OptionKind::kBool && !settings.Bool(option.name)) continue;
    if (option.kind == OptionKind::kText && settings.Text(option.name) == option.fallback) continue;
    throw Error(ErrorKind::kUsage,
                {.doing = "do what " + settings.Origin(option.name) + " asks for",
                 .target = {},
                 .why = option.refused,
                 .help = {}});
  }
}

void NoteIgnored(Settings& settings) {
  for (const OptionSpec& option : Options()) {
    if (*option.ignored == '\0' || settings.Get(option.name).is_default()) continue;
    if (option.kind == OptionKind::kBool && !settings.Bool(option.name)) continue;
    settings.notes.push_back(settings.Origin(option.name) + " is ignored: " + option.ignored);
  }
}

// Manifests for the reference tool start it as a subcommand: `args: [istio-iptables, -p,
// "15001", ...]`. Removes that word from the front. Returns whether it was the one that cleans
// up.
bool TakeReferenceName(std::vector<std::string>& words) {
  if (words.empty()) return false;
  const bool cleans = words.front() == "istio-clean-iptables";
  if (cleans || words.front() == "istio-iptables") words.erase(words.begin());
  return cleans;
}

}  // namespace

std::vector<std::string_view> CommandNames() {
  std::vector<std::string_view> out;
  for (const auto& [name, command] : kCommands) out.push_back(name);
  return out;
}

void RefuseValue(const Settings& settings, std::string_view name, std::string_view part,
                 std::string_view expected) {
  const std::string& value = settings.Text(name);
  std::string why = "expected " + std::string(expected);
  if (part != value) why = "\"" + std::string(part) + "\" is wrong: " + why;
  throw Error(ErrorKind::kUsage, {.doing = "use \"" + value + "\" for " + settings.Origin(name),
                                  .target = {},
                                  .why = std::move(why),
                                  .help = {}});
}

const Setting& Settings::Get(std::string_view name) const { return values.at(IndexOfOption(name)); }

std::string Settings::Origin(std::string_view name) const {
  const Setting& setting = Get(name);
  return setting.is_default() ? "--" + std::string(name) : setting.origin;
}

bool Settings::Bool(std::string_view name) const {
  const Setting& setting = Get(name);
  try {
    return ParseBool(setting.value);
  } catch (const std::invalid_argument& error) {
    RefuseValue(*this, name, setting.value, error.what());
  }
}

Settings ParseCommandLine(const std::vector<std::string>& arguments,
                          const Environment& environment) {
  Settings settings;
  std::vector<std::string> words = arguments;
  const bool cleans = TakeReferenceName(words);
  CommandLine line = ReadCommandLine(words);
  settings.command = CommandOf(line);
  if (cleans) line.flags.push_back({IndexOfOption("cleanup-only"), "true"});
  settings.values.reserve(Options().size());
  for (const OptionSpec& option : Options()) settings.values.push_back({option.fallback, {}});
  const auto override = [&](std::size_t index) {
    const OptionSpec& option = Options()[index];
    if (auto setting = FromEnvironment(option, environment, settings.notes)) {
      settings.values[index] = *std::move(setting);
    }
    if (auto setting = FromFlags(index, line, settings.warnings)) {
      settings.values[index] = *std::move(setting);
    }
  };
  const std::size_t config = IndexOfOption("config");
  override(config);
  if (const std::string path = settings.values[config].value; !path.empty()) {
    for (auto& [name, setting] : ReadConfigFile(path)) {
      settings.values[IndexOfOption(name)] = setting;
    }
  }
  for (std::size_t index = 0; index < Options().size(); ++index) {
    if (index != config) override(index);
  }
  RefuseUnsupported(settings);
  NoteIgnored(settings);
  return settings;
}

}  // namespace sluice::capture
