// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-inject/options.h"

#include <algorithm>
#include <array>
#include <optional>
#include <stdexcept>

#include <boost/program_options.hpp>

#include "base/duration.h"
#include "base/error.h"
#include "base/parse.h"
#include "base/text/suggest.h"
#include "cmd/sluice-inject/files.h"

namespace sluice::inject {
namespace {

namespace po = boost::program_options;

constexpr std::array<std::pair<std::string_view, Verb>, 6> kVerbs = {{
    {"inject", Verb::kInject},
    {"uninject", Verb::kUninject},
    {"explain", Verb::kExplain},
    {"print-config", Verb::kPrintConfig},
    {"serve", Verb::kServe},
    {"certificate", Verb::kCertificate},
}};

[[noreturn]] void Refuse(std::string why, std::string help = "see --help") {
  throw Error(ErrorKind::kUsage, {.doing = "understand the command line",
                                  .target = {},
                                  .why = std::move(why),
                                  .help = std::move(help)});
}

std::vector<std::string_view> FlagNames() {
  std::vector<std::string_view> out = {
      "filename",       "in-place",  "diff",     "output",   "config",          "help",
      "version",        "port",      "tls-cert", "tls-key",  "max-connections", "max-body-memory",
      "drain-duration", "namespace", "service",  "validity", "failure-policy",  "trust"};
  for (const SettingSpec& spec : SettingSpecs()) out.push_back(spec.name);
  return out;
}

std::vector<std::string_view> VerbNames() {
  std::vector<std::string_view> out;
  for (const auto& [name, verb] : kVerbs) out.push_back(name);
  return out;
}

po::options_description Description() {
  po::options_description description;
  auto add = description.add_options();
  const auto texts = [] { return po::value<std::vector<std::string>>(); };
  add("filename,f", texts());
  add("in-place", "");
  add("diff", "");
  add("output,o", texts());
  add("config", texts());
  for (const SettingSpec& spec : SettingSpecs()) {
    auto* const value = texts();
    if (spec.value_name == nullptr) value->implicit_value({"true"}, "true");
    add(std::string(spec.name).c_str(), value);
  }
  add("port", texts());
  add("tls-cert", texts());
  add("tls-key", texts());
  add("max-connections", texts());
  add("max-body-memory", texts());
  add("drain-duration", texts());
  add("namespace", texts());
  add("service", texts());
  add("validity", texts());
  add("failure-policy", texts());
  add("trust", texts());
  add("help,h", "");
  add("version", "");
  return description;
}

std::vector<std::string_view> SwitchNames() {
  std::vector<std::string_view> out;
  for (const SettingSpec& spec : SettingSpecs()) {
    if (spec.value_name == nullptr) out.push_back(spec.name);
  }
  return out;
}

po::variables_map Read(const std::vector<std::string>& arguments) {
  po::options_description all = Description();
  all.add_options()("verb", po::value<std::vector<std::string>>());
  po::positional_options_description positional;
  positional.add("verb", -1);
  po::variables_map values;
  try {
    namespace style = po::command_line_style;
    po::store(po::command_line_parser(WithSwitchesSet(arguments, SwitchNames()))
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

// The last one counts, as with all flags.
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
    Refuse(
        "\"" + words[0] + "\" is no verb",
        SuggestWord(
            words[0], VerbNames(),
            "verbs are inject, uninject, explain, print-config, serve and certificate; a file is "
            "given as -f FILE"));
  }
  if (words.size() > 1)
    Refuse("\"" + words[1] + "\" is not understood", "a file is given as -f FILE");
  return found->second;
}

void CheckCombination(const Options& options, bool output_given) {
  const bool writes = options.verb == Verb::kInject || options.verb == Verb::kUninject;
  if (options.verb == Verb::kPrintConfig || options.verb == Verb::kServe ||
      options.verb == Verb::kCertificate) {
    if (!options.files.empty()) Refuse("print-config, serve and certificate take no files");
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

// Calls `parse` with the value of `name`; it throws std::invalid_argument with what is expected.
template <typename Parse>
void ReadFlag(const po::variables_map& values, const std::string& name, Parse parse) {
  const auto text = TextOf(values, name);
  if (!text) return;
  try {
    parse(*text);
  } catch (const std::invalid_argument& error) {
    Refuse("use \"" + *text + "\" for --" + name + ": expected " + error.what());
  }
}

void ReadServer(const po::variables_map& values, Options& options) {
  webhook::ServerOptions& server = options.server;
  for (const char* const name :
       {"port", "tls-cert", "tls-key", "max-connections", "max-body-memory", "drain-duration"}) {
    if (options.verb != Verb::kServe && values.contains(name)) {
      Refuse("--" + std::string(name) + " is for serve");
    }
  }
  if (options.verb != Verb::kServe) return;
  ReadFlag(values, "port", [&](const std::string& text) {
    server.port = static_cast<std::uint16_t>(ParseNumber(text, 0, 65535));
  });
  ReadFlag(values, "max-connections",
           [&](const std::string& text) { server.max_connections = ParseNumber(text, 1, 100000); });
  ReadFlag(values, "max-body-memory", [&](const std::string& text) {
    server.max_body_memory = ParseNumber(text, 8, 65536) * 1024 * 1024;
  });
  ReadFlag(values, "drain-duration", [&](const std::string& text) {
    server.drain = ParseDuration(text, std::chrono::hours(1));
  });
  server.certificate = TextOf(values, "tls-cert").value_or("");
  server.key = TextOf(values, "tls-key").value_or("");
  if (server.certificate.empty() || server.key.empty()) {
    Refuse("serve needs --tls-cert and --tls-key");
  }
}

// A DNS label (RFC 1123), as in the names of Kubernetes services and namespaces.
std::string DnsLabel(const std::string& text) {
  const bool good = !text.empty() && text.size() <= 63 && text.front() != '-' &&
                    text.back() != '-' && std::ranges::all_of(text, [](char c) {
                      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
                    });
  if (!good) throw std::invalid_argument("small letters, digits and dashes, 63 at most");
  return text;
}

void ReadCertificate(const po::variables_map& values, Options& options) {
  CertificateOptions& certificate = options.certificate;
  for (const char* const name : {"namespace", "service", "validity", "failure-policy", "trust"}) {
    if (options.verb != Verb::kCertificate && values.contains(name)) {
      Refuse("--" + std::string(name) + " is for certificate");
    }
  }
  ReadFlag(values, "namespace",
           [&](const std::string& text) { certificate.name_space = DnsLabel(text); });
  ReadFlag(values, "service",
           [&](const std::string& text) { certificate.service = DnsLabel(text); });
  ReadFlag(values, "validity", [&](const std::string& text) {
    constexpr std::chrono::hours kTenYears{24 * 3650};
    const auto validity = ParseDuration(text, kTenYears);
    if (validity < std::chrono::hours(1)) throw std::invalid_argument("an hour at least");
    certificate.validity = std::chrono::floor<std::chrono::seconds>(validity);
  });
  ReadFlag(values, "failure-policy", [&](const std::string& text) {
    if (text != "Fail" && text != "Ignore") throw std::invalid_argument("Fail or Ignore");
    certificate.failure_policy = text;
  });
  certificate.trust = TextsOf(values, "trust");
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
  ReadServer(values, options);
  ReadCertificate(values, options);
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

ProgramText DescribeProgram() {
  ProgramText out{.name = "sluice-inject",
                  .aliases = {},
                  .commands = {{"inject", "put the containers into manifests"},
                               {"uninject", "take them out again"},
                               {"explain", "what would be put in, or why not"},
                               {"print-config", "the settings, as --config takes them"},
                               {"serve", "the admission webhook"},
                               {"certificate", "its Secret, and what makes a cluster ask it"}},
                  .groups = {}};
  out.groups.push_back(
      {"Options",
       {{"filename", 'f', "FILE",
         "manifests: a file, a directory, or - for standard input; may be repeated"},
        {"in-place", 0, {}, "write the results into the files"},
        {"diff", 0, {}, "print what would change as diff -u does; exit 10 when something would"},
        {"output", 'o', "yaml|json-patch", "how results are printed (yaml)"},
        {"config", 0, "FILE", "JSON file with the names of the flags below as keys"},
        {"help", 'h', {}, "print this and exit"},
        {"version", 0, {}, "print the version and exit"}}});
  OptionGroup& settings = out.groups.emplace_back(OptionGroup{"Settings", {}});
  for (const SettingSpec& spec : SettingSpecs()) {
    settings.options.push_back(
        {std::string(spec.name), 0, spec.value_name == nullptr ? "" : spec.value_name, spec.help});
  }
  out.groups.push_back({"Of serve",
                        {{"port", 0, "PORT", "where to listen, 0 for any that is free (9443)"},
                         {"tls-cert", 0, "FILE", "certificate chain in PEM"},
                         {"tls-key", 0, "FILE", "its private key in PEM"},
                         {"max-connections", 0, "NUMBER",
                          "one more closes the one that has been silent for the longest (1000)"},
                         {"max-body-memory", 0, "MIB",
                          "for large requests, all together; one more is answered 503 (64)"},
                         {"drain-duration", 0, "DURATION",
                          "how long connections are accepted after SIGTERM (5s)"}}});
  out.groups.push_back({"Of certificate",
                        {{"namespace", 0, "NAME", "of the webhook (sluice-system)"},
                         {"service", 0, "NAME", "of the webhook (sluice-webhook)"},
                         {"validity", 0, "DURATION", "how long it is valid (8760h)"},
                         {"failure-policy", 0, "Fail|Ignore",
                          "what becomes of pods while the webhook cannot be asked (Fail)"},
                         {"trust", 0, "FILE",
                          "CA certificates that stay trusted, of a rotation; may be repeated"}}});
  return out;
}

std::string HelpText() {
  return "Usage: sluice-inject -f FILE [OPTION]...           put the containers in\n"
         "       sluice-inject uninject -f FILE [OPTION]...  take them out again\n"
         "       sluice-inject explain -f FILE [OPTION]...   what would go in, or why not\n"
         "       sluice-inject print-config [OPTION]...      the settings, for --config\n"
         "       sluice-inject serve --tls-cert FILE --tls-key FILE [OPTION]...\n"
         "                                                   the admission webhook\n"
         "       sluice-inject certificate [OPTION]...       its Secret, and what makes a\n"
         "                                                   cluster ask it\n"
         "       sluice-inject completion SHELL              for bash, zsh or fish\n"
         "\n"
         "Puts sluice-init and sluice-proxy into Kubernetes manifests. Only lines are\n"
         "added; the rest of a file stays as it is, by the byte. Asks no cluster. Results\n"
         "are on standard output, all else on standard error.\n"
         "\n" +
         OptionHelp(DescribeProgram()) +
         "\nExamples:\n"
         "  sluice-inject -f httpbin.yaml | kubectl apply -f -\n"
         "  sluice-inject explain -f manifests\n"
         "  sluice-inject -f manifests --diff --capture istio-outbound-ports=5432\n"
         "  sluice-inject uninject -f httpbin.yaml --in-place\n"
         "\nExit codes: 0 done; 1 a file cannot be read, understood or written; 2 usage or\n"
         "settings; 6 a workload is refused, and nothing was written or printed; 10\n"
         "--diff: something would change.\n";
}

}  // namespace sluice::inject
