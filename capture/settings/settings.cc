// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/settings/settings.h"

#include <algorithm>
#include <array>
#include <bitset>
#include <iterator>
#include <optional>
#include <stdexcept>

#include <boost/program_options.hpp>

#include "base/error.h"
#include "base/parse.h"
#include "base/text/suggest.h"
#include "capture/settings/config_file.h"
#include "capture/settings/option_table.h"

namespace sluice::capture {
namespace {

namespace po = boost::program_options;

constexpr std::array<std::pair<std::string_view, Command>, 7> kCommands = {{
    {"diff", Command::kDiff},
    {"doctor", Command::kDoctor},
    {"explain", Command::kExplain},
    {"graph", Command::kGraph},
    {"show", Command::kShow},
    {"trace", Command::kTrace},
    {"verify", Command::kVerify},
}};

[[noreturn]] void Refuse(std::string why, std::string help = "see --help") {
  throw Error(ErrorKind::kUsage, {.doing = "understand the command line",
                                  .target = {},
                                  .why = std::move(why),
                                  .help = std::move(help)});
}

auto FindCommand(std::string_view word) {
  return std::ranges::find(kCommands, word, [](const auto& entry) { return entry.first; });
}

// The forms in which an option appears in a command line.
struct Forms {
  bool name = true;
  bool letter = true;
};

struct Mentioned {
  std::vector<Forms> options;  // in the order of Options()
  bool ending = false;         // --help or --version: nothing else to do
};

// The options in those forms that appear; others are left out.
po::options_description Describe(const Mentioned& mentioned) {
  po::options_description options;
  for (std::size_t i = 0; i < mentioned.options.size(); ++i) {
    const OptionSpec& option = Options()[i];
    const Forms forms = mentioned.options[i];
    std::string name(forms.name ? option.name : "");
    if (forms.letter && option.letter != 0) name += std::string(",") + option.letter;
    if (name.empty()) continue;
    // A vector, because a flag may be repeated; the last one counts, as in cobra.
    auto* value = po::value<std::vector<std::string>>()->value_name("arg");
    if (option.kind == OptionKind::kBool) value->implicit_value({"true"}, "true");
    options.add_options()(name.c_str(), value, "");
  }
  if (mentioned.ending) {
    options.add_options()("help,h", "")("version", "");
  }
  return options;
}

const OptionSpec* FindLetter(char letter) {
  const auto found = std::ranges::find(Options(), letter, &OptionSpec::letter);
  return letter == 0 || found == Options().end() ? nullptr : &*found;
}

// `key` is the form that was typed, as Boost calls it: "envoy-port" or "-p".
po::option Found(std::string key, std::string value, std::vector<std::string> tokens) {
  po::option out(std::move(key), {std::move(value)});
  out.original_tokens = std::move(tokens);
  return out;
}

// Forms that manifests contain and Boost does not accept: a switch before a word, an empty value
// (--flag=, --flag "", -x ""), -p=1, and grouped boolean letters (-nf), of which the last may take
// a value (-np 1). Removes the tokens it handles from the front of `tokens`.
std::vector<po::option> ParseFieldStyle(std::vector<std::string>& tokens) {
  const std::string token = tokens.front();
  const auto take = [&tokens](std::size_t count) {
    tokens.erase(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(count));
  };
  const bool empty_follows = tokens.size() > 1 && tokens[1].empty();
  if (token.starts_with("--")) {
    const bool adjacent = token.ends_with('=');
    const OptionSpec* option =
        FindOption(std::string_view(token).substr(2, token.size() - 2 - (adjacent ? 1 : 0)));
    if (option == nullptr) return {};
    if (!adjacent && option->kind == OptionKind::kBool) {
      // Boost would take a following command for its value.
      take(1);
      return {Found(std::string(option->name), "true", {token})};
    }
    if (!adjacent && !empty_follows) return {};
    take(adjacent ? 1 : 2);
    return {Found(std::string(option->name), "", {token})};
  }
  if (token.size() < 2 || token[0] != '-') return {};
  const OptionSpec* option = FindLetter(token[1]);
  if (option == nullptr) return {};
  const std::string letter = token.substr(0, 2);
  std::string rest = token.substr(2);
  if (rest.starts_with('=')) {
    take(1);
    return {Found(letter, rest.substr(1), {token})};
  }
  if (option->kind == OptionKind::kText) {
    if (!rest.empty() || !empty_follows) return {};
    take(2);
    return {Found(letter, "", {token})};
  }
  take(1);
  std::vector<po::option> found = {Found(letter, "true", {token})};
  if (rest.empty()) return found;
  // The rest is a group of its own. Handled here, because Boost assumes that a parser which leaves
  // the number of tokens unchanged did nothing.
  tokens.insert(tokens.begin(), "-" + rest);
  std::ranges::move(ParseFieldStyle(tokens), std::back_inserter(found));
  return found;
}

// Which options `arguments` can mean, and in which form. Boost compares each argument with each
// form, and makes strings of both: describing all options in both forms took half of the run time.
Mentioned MentionedIn(const std::vector<std::string>& arguments) {
  Mentioned out;
  out.options.resize(Options().size(), Forms{.name = false, .letter = false});
  std::bitset<256> letters;
  for (const std::string_view argument : arguments) {
    if (argument.starts_with("--")) {
      const std::string_view name = argument.substr(2, argument.find('=') - 2);
      const std::size_t index = IndexOfOption(name);
      if (index < out.options.size()) out.options[index].name = true;
      out.ending |= name == "help" || name == "version";
    } else if (argument.starts_with('-')) {
      for (const char letter : argument) letters.set(static_cast<unsigned char>(letter));
    }
  }
  out.ending |= letters.test('h');
  for (std::size_t i = 0; i < out.options.size(); ++i) {
    const auto letter = static_cast<unsigned char>(Options()[i].letter);
    out.options[i].letter = letter != 0 && letters.test(letter);
  }
  return out;
}

constexpr const char* kEmptyValueHelp = "give an empty value as --flag=; see --help";

bool IsBool(const std::string& word) {
  try {
    ParseBool(word);
    return true;
  } catch (const std::invalid_argument&) {
    return false;
  }
}

// What is suggested for a flag that does not exist.
std::vector<std::string_view> FlagNames() {
  std::vector<std::string_view> out = OptionNames();
  out.insert(out.end(), {"help", "version"});
  return out;
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
    help = SuggestWord(word, names, SuggestFlag(word, FlagNames(), help));
  }
  Refuse("\"" + word + "\" is neither a flag's value nor a command", help);
}

// The values of each given flag, in order; positional words are under "command".
using Flags = std::map<std::string, std::vector<std::string>, std::less<>>;

Flags ParseFlags(const std::vector<std::string>& arguments, Command& command) {
  po::options_description all = Describe(MentionedIn(arguments));
  all.add_options()("command", po::value<std::vector<std::string>>());
  po::positional_options_description positional;
  positional.add("command", -1);
  using namespace po::command_line_style;
  constexpr int kStyle = allow_long | long_allow_adjacent | long_allow_next | allow_short |
                         allow_dash_for_short | short_allow_adjacent | short_allow_next;
  Flags flags;
  try {
    const auto parsed = po::command_line_parser(arguments)
                            .options(all)
                            .positional(positional)
                            .style(kStyle)
                            .extra_style_parser(ParseFieldStyle)
                            .run();
    for (const po::option& option : parsed.options) {
      // An option described only by its letter is called "-p".
      const std::string& key = option.string_key;
      const bool letter = key.size() == 2 && key[0] == '-';
      auto& values = flags[letter ? std::string(FindLetter(key[1])->name) : key];
      // A boolean flag has a value only if given with '='.
      values.push_back(option.value.empty() ? "true" : option.value.front());
    }
  } catch (const po::unknown_option& error) {
    Refuse("there is no flag " + error.get_option_name(),
           SuggestFlag(error.get_option_name(), FlagNames(), "see --help"));
  } catch (po::error_with_option_name& error) {
    // An option described only by its letter is called "--p" here.
    const std::string called = error.get_option_name();
    const OptionSpec* const option = called.size() == 3 ? FindLetter(called[2]) : nullptr;
    if (option != nullptr) error.set_option_name(std::string(option->name));
    Refuse(error.what(), kEmptyValueHelp);
  } catch (const po::error& error) {
    Refuse(error.what(), kEmptyValueHelp);
  }
  if (flags.contains("command")) {
    const auto& words = flags["command"];
    const auto found = FindCommand(words.front());
    if (found == kCommands.end()) RefuseWord(words.front());
    if (words.size() > 1) RefuseWord(words[1]);
    command = found->second;
  }
  if (flags.contains("help")) command = Command::kHelp;
  if (flags.contains("version")) command = Command::kVersion;
  return flags;
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

std::optional<Setting> FromFlags(const OptionSpec& option, const Flags& flags,
                                 std::vector<std::string>& warnings) {
  const auto given = flags.find(option.name);
  if (given == flags.end()) return {};
  const auto& values = given->second;
  const std::string flag = FlagOf(option);
  for (const std::string& value : values) {
    // Boost takes any word after a long flag as its value. No flag takes a value like that.
    if (!value.starts_with("--")) continue;
    const auto name = std::string_view(value).substr(2, value.find('=') - 2);
    if (FindOption(name) == nullptr) continue;
    Refuse("the required argument for option '" + flag + "' is missing", kEmptyValueHelp);
  }
  if (std::ranges::any_of(values, [&](const auto& value) { return value != values.back(); })) {
    warnings.push_back(flag + " is given " + std::to_string(values.size()) +
                       " times; the last one counts: \"" + values.back() + "\"");
  }
  return Setting{values.back(), flag};
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
  Flags flags = ParseFlags(words, settings.command);
  if (cleans) flags["cleanup-only"] = {"true"};
  for (const OptionSpec& option : Options()) settings.values.push_back({option.fallback, {}});
  const auto override = [&](std::size_t index) {
    const OptionSpec& option = Options()[index];
    if (auto setting = FromEnvironment(option, environment, settings.notes)) {
      settings.values[index] = *std::move(setting);
    }
    if (auto setting = FromFlags(option, flags, settings.warnings)) {
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
