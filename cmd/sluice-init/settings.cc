#include "cmd/sluice-init/settings.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <sstream>

#include <boost/json/object.hpp>
#include <boost/program_options.hpp>

#include "base/error.h"
#include "cmd/sluice-init/config_file.h"
#include "cmd/sluice-init/option_table.h"
#include "cmd/sluice-init/pretty_json.h"

namespace sluice::init {
namespace {

namespace po = boost::program_options;

constexpr std::array<std::pair<std::string_view, Command>, 3> kCommands = {{
    {"diff", Command::kDiff},
    {"show", Command::kShow},
    {"verify", Command::kVerify},
}};

[[noreturn]] void Refuse(std::string why, std::string help = "see --help") {
  throw Error(ErrorKind::kUsage, {.doing = "understand the command line",
                                  .target = {},
                                  .why = std::move(why),
                                  .help = std::move(help)});
}

// The options of the table that `wanted` is true for.
template <typename Wanted>
po::options_description Describe(Wanted wanted) {
  constexpr unsigned int kWidth = 100;
  po::options_description options("Options", kWidth, kWidth / 2);
  for (const OptionSpec& option : Options()) {
    if (!wanted(option)) continue;
    std::string name = option.name;
    if (option.letter != 0) name += std::string(",") + option.letter;
    // A vector, because a flag may be repeated; the last one counts, as in cobra.
    auto* value = po::value<std::vector<std::string>>()->value_name("arg");
    if (option.kind == OptionKind::kBool) value->implicit_value({"true"}, "true");
    std::string help =
        *option.refused != '\0' ? std::string("refused: ") + option.refused : option.help;
    if (*option.fallback != '\0' && option.kind == OptionKind::kText) {
      help += std::string(" (default: ") + option.fallback + ")";
    }
    options.add_options()(name.c_str(), value, help.c_str());
  }
  options.add_options()("help,h", "print this and exit")("version", "print the version and exit");
  return options;
}

const OptionSpec* FindLetter(char letter) {
  const auto found = std::ranges::find(Options(), letter, &OptionSpec::letter);
  return letter == 0 || found == Options().end() ? nullptr : &*found;
}

po::option Found(const OptionSpec& option, std::string value, std::vector<std::string> tokens) {
  po::option out(option.name, {std::move(value)});
  out.original_tokens = std::move(tokens);
  return out;
}

// What manifests contain and Boost does not take: an empty value (--flag=, --flag "", -x ""), -p=1,
// and boolean letters written together (-nf), the last of which may be any (-np 1). Takes its
// tokens off the front of `tokens`.
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
    if (option == nullptr || !(adjacent || (empty_follows && option->kind == OptionKind::kText))) {
      return {};
    }
    take(adjacent ? 1 : 2);
    return {Found(*option, "", {token})};
  }
  if (token.size() < 2 || token[0] != '-') return {};
  const OptionSpec* option = FindLetter(token[1]);
  if (option == nullptr) return {};
  std::string rest = token.substr(2);
  if (rest.starts_with('=')) {
    take(1);
    return {Found(*option, rest.substr(1), {token})};
  }
  if (option->kind == OptionKind::kText) {
    if (!rest.empty() || !empty_follows) return {};
    take(2);
    return {Found(*option, "", {token})};
  }
  take(1);
  std::vector<po::option> found = {Found(*option, "true", {token})};
  if (rest.empty()) return found;
  // What is left is a cluster of its own. Read here: Boost takes a parser that leaves as many
  // tokens as it found for one that did nothing.
  tokens.insert(tokens.begin(), "-" + rest);
  std::ranges::move(ParseFieldStyle(tokens), std::back_inserter(found));
  return found;
}

// Whether one of `arguments` can mean `option`. Boost compares each argument with each description,
// and makes strings of both: describing all options took half of the run time.
bool Mentions(const std::vector<std::string>& arguments, const OptionSpec& option) {
  return std::ranges::any_of(arguments, [&option](std::string_view argument) {
    if (argument.starts_with("--")) {
      return argument.substr(2, argument.find('=') - 2) == option.name;
    }
    return option.letter != 0 && argument.starts_with('-') &&
           argument.find(option.letter) != std::string_view::npos;
  });
}

// The values of each flag given, in their order; positional words are under "command".
using Flags = std::map<std::string, std::vector<std::string>, std::less<>>;

Flags ParseFlags(const std::vector<std::string>& arguments, Command& command) {
  po::options_description all =
      Describe([&](const OptionSpec& option) { return Mentions(arguments, option); });
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
      std::vector<std::string>& values = flags[option.string_key];
      // A boolean flag has a value only when one is given with '='.
      values.push_back(option.value.empty() ? "true" : option.value.front());
    }
  } catch (const po::unknown_option& error) {
    Refuse("there is no flag " + error.get_option_name());
  } catch (const po::error& error) {
    Refuse(error.what(), "give an empty value as --flag=; see --help");
  }
  if (flags.contains("command")) {
    const auto& words = flags["command"];
    const auto found =
        std::ranges::find(kCommands, words.front(), [](const auto& entry) { return entry.first; });
    if (found == kCommands.end() || words.size() > 1) {
      const std::string& odd = found == kCommands.end() ? words.front() : words[1];
      Refuse("\"" + odd + "\" is neither a flag's value nor a command",
             "commands are diff, show and verify; a flag's value follows it");
    }
    command = found->second;
  }
  if (flags.contains("help")) command = Command::kHelp;
  if (flags.contains("version")) command = Command::kVersion;
  return flags;
}

// Set and not empty: an empty variable is how manifests say "not set", and how viper reads it.
std::optional<Setting> FromEnvironment(const OptionSpec& option, const Environment& environment) {
  std::vector<std::string> names = {VariableOf(option)};
  names.insert(names.end(), option.other_variables.begin(), option.other_variables.end());
  for (const std::string& name : names) {
    const char* const value = environment(name.c_str());
    if (value != nullptr && *value != '\0') {
      return Setting{value, name + " in the environment", false};
    }
  }
  return {};
}

std::optional<Setting> FromFlags(const OptionSpec& option, const Flags& flags,
                                 std::vector<std::string>& warnings) {
  const auto given = flags.find(option.name);
  if (given == flags.end()) return {};
  const auto& values = given->second;
  const std::string flag = std::string("--") + option.name;
  for (const std::string& value : values) {
    // Boost takes whatever follows a long flag for its value. Nothing that a flag takes begins so.
    if (!value.starts_with("--")) continue;
    const auto name = std::string_view(value).substr(2, value.find('=') - 2);
    if (FindOption(name) == nullptr) continue;
    Refuse("the required argument for option '" + flag + "' is missing",
           "give an empty value as --flag=; see --help");
  }
  if (std::ranges::any_of(values, [&](const auto& value) { return value != values.back(); })) {
    warnings.push_back(flag + " is given " + std::to_string(values.size()) +
                       " times; the last one counts: \"" + values.back() + "\"");
  }
  return Setting{values.back(), flag, false};
}

void RefuseUnsupported(const Settings& settings) {
  for (const OptionSpec& option : Options()) {
    const Setting& setting = settings.Get(option.name);
    if (*option.refused == '\0' || setting.is_default) continue;
    if (option.kind == OptionKind::kBool && !settings.Bool(option.name)) continue;
    throw Error(ErrorKind::kUsage, {.doing = "do what " + setting.origin + " asks for",
                                    .target = {},
                                    .why = option.refused,
                                    .help = {}});
  }
}

}  // namespace

void RefuseValue(const Setting& setting, std::string_view part, std::string_view expected) {
  std::string why = "expected " + std::string(expected);
  if (part != setting.value) why = "\"" + std::string(part) + "\" is wrong: " + why;
  throw Error(ErrorKind::kUsage, {.doing = "use \"" + setting.value + "\" for " + setting.origin,
                                  .target = {},
                                  .why = std::move(why),
                                  .help = {}});
}

const Setting& Settings::Get(std::string_view name) const { return values.find(name)->second; }

bool Settings::Bool(std::string_view name) const {
  constexpr std::array<std::string_view, 6> kTrue = {"1", "t", "T", "true", "TRUE", "True"};
  constexpr std::array<std::string_view, 6> kFalse = {"0", "f", "F", "false", "FALSE", "False"};
  const Setting& setting = Get(name);
  if (std::ranges::find(kTrue, setting.value) != kTrue.end()) return true;
  if (std::ranges::find(kFalse, setting.value) != kFalse.end()) return false;
  RefuseValue(setting, setting.value, "true or false");
}

Settings ParseCommandLine(const std::vector<std::string>& arguments,
                          const Environment& environment) {
  Settings settings;
  const Flags flags = ParseFlags(arguments, settings.command);
  for (const OptionSpec& option : Options()) {
    settings.values[option.name] = {option.fallback, std::string("--") + option.name, true};
  }
  const auto override = [&](const OptionSpec& option) {
    if (auto setting = FromEnvironment(option, environment)) {
      settings.values[option.name] = *std::move(setting);
    }
    if (auto setting = FromFlags(option, flags, settings.warnings)) {
      settings.values[option.name] = *std::move(setting);
    }
  };
  const OptionSpec& config = *FindOption("config");
  override(config);
  if (const Setting& file = settings.Get("config"); !file.value.empty()) {
    for (auto& [name, setting] : ReadConfigFile(file.value)) settings.values[name] = setting;
  }
  for (const OptionSpec& option : Options()) {
    if (&option != &config) override(option);
  }
  RefuseUnsupported(settings);
  return settings;
}

std::string HelpText() {
  std::ostringstream out;
  out << "Usage: sluice-init [OPTION]...           capture the traffic of this network namespace\n"
         "       sluice-init diff [OPTION]...      what would change; exit 10 when something "
         "would\n"
         "       sluice-init show [OPTION]...      what of ours is installed, with counters\n"
         "       sluice-init verify [OPTION]...    check with real connections; exit 126 on "
         "failure\n"
         "\n"
         "Takes the flags and environment variables of istio-iptables. Every flag can be set by\n"
         "the variable of its name in upper case with underscores (SLUICE_ before those marked "
         "*).\n"
         "\n";
  out << Describe([](const OptionSpec&) { return true; });
  out << "\nOnes marked *:";
  for (const OptionSpec& option : Options()) {
    if (option.ours) out << " --" << option.name;
  }
  out << "\n\nExit codes: 0 done, or already in place; 1 failed, everything put back; 2 usage or\n"
         "configuration; 3 privilege missing; 4 kernel feature missing; 5 lock not obtained;\n"
         "10 diff: something would change; 126 validation failed.\n";
  return out.str();
}

std::string DescribeSettings(const Settings& settings) {
  boost::json::object out;
  for (const OptionSpec& option : Options()) {
    const Setting& setting = settings.Get(option.name);
    out[option.name] = {{"value", setting.value},
                        {"origin", setting.is_default ? "default" : setting.origin}};
  }
  return PrettyJson(out);
}

}  // namespace sluice::init
