// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-proxy/flag.h"

#include <utility>

#include <boost/program_options.hpp>

#include "base/text/suggest.h"

namespace sluice::proxy {
namespace {

namespace po = boost::program_options;

std::vector<std::string_view> NamesOf(const std::vector<FlagText>& flags, bool only_switches) {
  std::vector<std::string_view> out;
  for (const FlagText& flag : flags) {
    if (!only_switches || flag.value_name == nullptr) out.emplace_back(flag.name);
  }
  return out;
}

std::string Suggestion(const std::string& typed, const std::vector<FlagText>& flags, bool with_help,
                       std::string_view otherwise) {
  std::vector<std::string_view> names = NamesOf(flags, false);
  if (with_help) names.insert(names.begin(), {"help", "version"});
  return SuggestFlag(typed, names, otherwise);
}

// Typed where a command stands in other programs: most likely one, or a flag without its dashes.
std::string FirstWord(const std::vector<std::string>& arguments) {
  return !arguments.empty() && !arguments.front().starts_with('-') ? arguments.front() : "";
}

}  // namespace

Error Usage(std::string doing, std::string target, std::string why, std::string help) {
  return Error(ErrorKind::kUsage, {.doing = std::move(doing),
                                   .target = std::move(target),
                                   .why = std::move(why),
                                   .help = std::move(help)});
}

std::map<std::string, std::string> ReadFlags(const std::vector<FlagText>& flags, bool with_help,
                                             const std::vector<std::string>& arguments,
                                             const char* doing) {
  po::options_description description;
  auto add = description.add_options();
  for (const FlagText& flag : flags) {
    auto* const value = po::value<std::string>();
    if (flag.value_name == nullptr) value->implicit_value("true");
    add(flag.name, value);
  }
  if (with_help) add("help,h", "")("version", "");
  po::variables_map values;
  try {
    namespace style = po::command_line_style;
    po::store(po::command_line_parser(WithSwitchesSet(arguments, NamesOf(flags, true)))
                  .options(description)
                  .positional({})
                  .style(style::unix_style & ~style::allow_guessing)
                  .run(),
              values);
  } catch (const po::too_many_positional_options_error&) {
    const std::string word = FirstWord(arguments);
    std::string help =
        Suggestion(word, flags, with_help, "a value belongs to its flag: --flag=value");
    if (with_help) help = SuggestWord(word, {"certificate", "completion"}, help);
    throw Usage(doing, "", "it takes flags only", help);
  } catch (const po::unknown_option& error) {
    throw Usage(doing, "", error.what(),
                Suggestion(error.get_option_name(), flags, with_help, "see --help"));
  } catch (const po::error& error) {
    throw Usage(doing, "", error.what(), "see --help");
  }
  std::map<std::string, std::string> out;
  for (const auto& [name, value] : values) {
    const auto* const text = boost::any_cast<std::string>(&value.value());
    out[name] = text == nullptr ? "" : *text;
  }
  return out;
}

OptionGroup Describe(std::string title, const std::vector<FlagText>& flags) {
  OptionGroup out{.title = std::move(title), .options = {}};
  for (const FlagText& flag : flags) {
    out.options.push_back(
        {flag.name, 0, flag.value_name == nullptr ? "" : flag.value_name, flag.help});
  }
  return out;
}

}  // namespace sluice::proxy
