// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-inject/options.h"

#include <algorithm>
#include <array>
#include <optional>
#include <sstream>

#include <boost/program_options.hpp>

#include "base/error.h"
#include "base/text/suggest.h"
#include "cmd/sluice-inject/files.h"

namespace sluice::inject {
namespace {

namespace po = boost::program_options;

constexpr std::array<std::pair<std::string_view, Verb>, 4> kVerbs = {{
    {"inject", Verb::kInject},
    {"uninject", Verb::kUninject},
    {"explain", Verb::kExplain},
    {"print-config", Verb::kPrintConfig},
}};

[[noreturn]] void Refuse(std::string why, std::string help = "see --help") {
  throw Error(ErrorKind::kUsage, {.doing = "understand the command line",
                                  .target = {},
                                  .why = std::move(why),
                                  .help = std::move(help)});
}

std::vector<std::string_view> FlagNames() {
  std::vector<std::string_view> out = {"filename", "in-place", "diff",   "output",
                                       "config",   "help",     "version"};
  for (const SettingSpec& spec : SettingSpecs()) out.push_back(spec.name);
  return out;
}

std::vector<std::string_view> VerbNames() {
  std::vector<std::string_view> out;
  for (const auto& [name, verb] : kVerbs) out.push_back(name);
  return out;
}

po::options_description Description() {
  po::options_description description("Options", 100);
  auto add = description.add_options();
  const auto texts = [] { return po::value<std::vector<std::string>>(); };
  add("filename,f", texts()->value_name("FILE"),
      "manifests: a file, a directory, or - for standard input; may be repeated");
  add("in-place", "write the results into the files");
  add("diff", "print what would change as diff -u does; exit 10 when something would");
  add("output,o", texts()->value_name("FORMAT"), "yaml, or json-patch (yaml)");
  add("config", texts()->value_name("FILE"), "JSON file with the names of the flags below as keys");
  for (const SettingSpec& spec : SettingSpecs()) {
    const std::string name(spec.name);
    if (spec.value_name == nullptr) {
      add(name.c_str(), texts()->value_name("[true|false]")->implicit_value({"true"}, "true"),
          spec.help);
    } else {
      add(name.c_str(), texts()->value_name(spec.value_name), spec.help);
    }
  }
  add("help,h", "print this and exit");
  add("version", "print the version and exit");
  return description;
}

// Boost takes the word behind a switch for its value; only what "=" joins to it is.
std::vector<std::string> WithSwitchesSet(std::vector<std::string> arguments) {
  for (std::string& word : arguments) {
    const auto is_word = [&word](const SettingSpec& spec) {
      return spec.value_name == nullptr && word == "--" + std::string(spec.name);
    };
    if (std::ranges::any_of(SettingSpecs(), is_word)) word += "=true";
  }
  return arguments;
}

po::variables_map Read(const std::vector<std::string>& arguments) {
  po::options_description all = Description();
  all.add_options()("verb", po::value<std::vector<std::string>>());
  po::positional_options_description positional;
  positional.add("verb", -1);
  po::variables_map values;
  try {
    namespace style = po::command_line_style;
    po::store(po::command_line_parser(WithSwitchesSet(arguments))
                  .options(all)
                  .positional(positional)
                  .style(style::unix_style & ~style::allow_guessing)
                  .run(),
              values);
  } catch (const po::unknown_option& error) {
    Refuse(error.what(), SuggestFlag(error.get_option_name(), FlagNames(), "see --help"));
  } catch (const po::error& error) {
    Refuse(error.what());
  }
  return values;
}

using Texts = std::vector<std::string>;

Texts TextsOf(const po::variables_map& values, const std::string& name) {
  return values.contains(name) ? values[name].as<Texts>() : Texts();
}

// The last one counts, as everywhere.
std::optional<std::string> TextOf(const po::variables_map& values, const std::string& name) {
  const Texts texts = TextsOf(values, name);
  if (texts.empty()) return {};
  return texts.back();
}

Verb VerbOf(const Texts& words) {
  if (words.empty()) return Verb::kInject;
  const auto found =
      std::ranges::find(kVerbs, words[0], [](const auto& each) { return each.first; });
  if (found == kVerbs.end()) {
    Refuse("\"" + words[0] + "\" is no verb",
           SuggestWord(
               words[0], VerbNames(),
               "verbs are inject, uninject, explain and print-config; a file is given as -f FILE"));
  }
  if (words.size() > 1)
    Refuse("\"" + words[1] + "\" is not understood", "a file is given as -f FILE");
  return found->second;
}

void CheckCombination(const Options& options, bool output_given) {
  const bool writes = options.verb == Verb::kInject || options.verb == Verb::kUninject;
  if (options.verb == Verb::kPrintConfig) {
    if (!options.files.empty()) Refuse("print-config takes no files");
  } else if (options.files.empty()) {
    Refuse("there is nothing to read", "name a file, a directory or - by -f");
  }
  if (!writes && (options.in_place || options.diff || output_given)) {
    Refuse("--in-place, --diff and --output are for inject and uninject");
  }
  if (options.in_place && options.diff) Refuse("--in-place and --diff exclude each other");
  if (options.output == Output::kJsonPatch && (options.in_place || options.diff)) {
    Refuse("a JSON Patch is printed, not written into the file");
  }
  if (options.in_place && std::ranges::find(options.files, "-") != options.files.end()) {
    Refuse("standard input cannot be written into");
  }
  if (std::ranges::count(options.files, "-") > 1) Refuse("standard input can be read once only");
}

}  // namespace

Options ParseOptions(const std::vector<std::string>& arguments) {
  const po::variables_map values = Read(arguments);
  Options options;
  options.help = values.contains("help");
  options.version = values.contains("version");
  if (options.help || options.version) return options;
  options.verb = VerbOf(TextsOf(values, "verb"));
  options.files = TextsOf(values, "filename");
  options.in_place = values.contains("in-place");
  options.diff = values.contains("diff");
  const auto output = TextOf(values, "output");
  if (output == "json-patch") {
    options.output = Output::kJsonPatch;
  } else if (output && *output != "yaml") {
    Refuse("use \"" + *output + "\" for --output: expected yaml or json-patch");
  }
  CheckCombination(options, output.has_value());
  if (const auto path = TextOf(values, "config")) {
    try {
      ReadSettings(options.settings, ReadText(*path), *path);
    } catch (const Error& error) {
      throw Error(ErrorKind::kUsage, error.text());
    }
  }
  for (const SettingSpec& spec : SettingSpecs()) {
    const std::string name(spec.name);
    const Texts texts = TextsOf(values, name);
    for (std::size_t i = spec.repeated || texts.empty() ? 0 : texts.size() - 1; i < texts.size();
         ++i) {
      Set(options.settings, spec, texts[i], "--" + name);
    }
  }
  return options;
}

std::string HelpText() {
  std::ostringstream out;
  out << "Usage: sluice-inject -f FILE [OPTION]...           put the containers into manifests\n"
         "       sluice-inject uninject -f FILE [OPTION]...  take them out again\n"
         "       sluice-inject explain -f FILE [OPTION]...   what would be put in, or why not\n"
         "       sluice-inject print-config [OPTION]...      the settings, as --config takes them\n"
         "\n"
         "Puts sluice-init and sluice-proxy into Kubernetes manifests. Only lines are added; the "
         "rest\n"
         "of a file stays as it is, by the byte. Asks no cluster. Results are on standard output,\n"
         "all else on standard error.\n"
         "\n";
  out << Description();
  out << "\nExit codes: 0 done; 1 a file cannot be read, understood or written; 2 usage or "
         "settings;\n"
         "6 a workload is refused, and nothing was written or printed; 10 --diff: something would\n"
         "change.\n";
  return out.str();
}

}  // namespace sluice::inject
