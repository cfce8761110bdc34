// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-inject/run.h"

#include <cerrno>
#include <cstdio>
#include <exception>

#include <boost/json/object.hpp>

#include "base/error.h"
#include "base/text/pretty_json.h"
#include "base/text/unified_diff.h"
#include "cmd/sluice-inject/files.h"
#include "cmd/sluice-inject/options.h"
#include "cmd/version.h"
#include "inject/manifest.h"

namespace sluice::inject {
namespace {

constexpr int kRefused = 6;
constexpr int kDiffers = 10;

void Write(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw SystemError(errno, "write to standard output");
  }
}

void Say(const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); }

struct File {
  std::string path;
  std::string name;  // its name in messages
  std::string text;
  Result result;
};

Result Process(const Options& options, const File& file) {
  if (options.verb == Verb::kUninject) return Uninject(file.text, file.name);
  return Inject(file.text, file.name, SLUICE_VERSION, DecideBy(options.settings));
}

std::string WhatBecame(const Outcome& outcome, bool explain) {
  switch (outcome.kind) {
    case Outcome::Kind::kInjected:
      return explain ? "would be injected" : "injected";
    case Outcome::Kind::kUnchanged:
      return "is injected already, with the same settings";
    case Outcome::Kind::kSkipped:
      return "skipped: " + outcome.reason;
    case Outcome::Kind::kRefused:
      return "refused: " + outcome.reason;
    case Outcome::Kind::kRestored:
      return "restored: the text is what it was before, byte for byte";
    case Outcome::Kind::kEdited:
      return "taken out; the text was edited since it was injected";
  }
  return {};
}

std::string LineOf(const File& file, const Outcome& outcome, bool explain) {
  std::string title = outcome.title;
  if (!outcome.name_space.empty()) title += " (namespace " + outcome.name_space + ")";
  return file.name + ":" + std::to_string(outcome.line) + ": " + title + ": " +
         WhatBecame(outcome, explain);
}

void Report(const File& file) {
  for (const Outcome& outcome : file.result.outcomes) {
    Say(LineOf(file, outcome, false));
    for (const std::string& warning : outcome.warnings) {
      Say(file.name + ":" + std::to_string(outcome.line) + ": warning: " + warning);
    }
  }
}

// "command arg 'arg with a space'", for people.
std::string Words(const boost::json::value& arguments) {
  std::string out;
  for (const auto& each : arguments.as_array()) {
    const std::string word(each.as_string());
    const bool quoted = word.empty() || word.find_first_of(" *\"'") != std::string::npos;
    out += (out.empty() ? "" : " ") + (quoted ? "'" + word + "'" : word);
  }
  return out;
}

// The added containers, each with its name and command.
void PrintAdditions(const boost::json::value& value, std::string& out) {
  if (value.is_array()) {
    for (const auto& item : value.get_array()) PrintAdditions(item, out);
  } else if (value.is_object() && value.get_object().contains("args")) {
    const auto& container = value.get_object();
    out += "  " + std::string(container.at("name").as_string()) + ": " +
           Words(container.at("args")) + "\n";
  }
}

// The output of explain: the decisions, and what sluice-init and the proxy would run.
std::string Explain(const Options& options, const File& file) {
  std::string out;
  const Decide decide = DecideBy(options.settings);
  std::vector<Additions> additions;
  const Result result = Inject(file.text, file.name, SLUICE_VERSION,
                               [&](const Workload& workload, const yaml::Reader& reader) {
                                 Decision decision = decide(workload, reader);
                                 if (decision.kind == Decision::Kind::kInject) {
                                   additions.push_back(decision.additions);
                                 }
                                 return decision;
                               });
  auto next = additions.begin();
  for (const Outcome& outcome : result.outcomes) {
    out += LineOf(file, outcome, true) + "\n";
    const bool goes_in =
        outcome.kind == Outcome::Kind::kInjected || outcome.kind == Outcome::Kind::kUnchanged;
    if (goes_in && next != additions.end()) {
      PrintAdditions(next->init_first, out);
      PrintAdditions(next->init_last, out);
      PrintAdditions(next->containers_first, out);
      PrintAdditions(next->containers_last, out);
      ++next;
    }
    for (const std::string& warning : outcome.warnings) out += "  warning: " + warning + "\n";
  }
  return out;
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = text.find('\n', at);
    out.push_back(text.substr(at, end == std::string::npos ? end : end - at));
    at = end == std::string::npos ? text.size() : end + 1;
  }
  return out;
}

// Joins several files into one stream: texts without a leading document marker get one.
std::string Stream(const std::vector<File>& files) {
  std::string out;
  for (const File& file : files) {
    if (!out.empty()) {
      if (out.back() != '\n') out += '\n';
      if (!file.result.text.starts_with("---")) out += "---\n";
    }
    out += file.result.text;
  }
  return out;
}

std::string Patches(const std::vector<File>& files) {
  boost::json::array out;
  for (const File& file : files) {
    for (const DocumentPatch& patch : file.result.patches) {
      out.push_back(boost::json::object{{"file", file.name},
                                        {"document", patch.document},
                                        {"line", patch.line},
                                        {"patch", patch.patch}});
    }
  }
  return PrettyJson(out);
}

int Emit(const Options& options, const std::vector<File>& files) {
  if (options.output == Output::kJsonPatch) {
    Write(Patches(files));
    return 0;
  }
  if (options.in_place) {
    for (const File& file : files) {
      if (file.result.text != file.text) ReplaceText(file.path, file.result.text);
    }
    return 0;
  }
  if (!options.diff) {
    Write(Stream(files));
    return 0;
  }
  bool differs = false;
  for (const File& file : files) {
    if (file.result.text == file.text) continue;
    differs = true;
    Write(
        UnifiedDiff(Lines(file.text), Lines(file.result.text), file.name, file.name + " (result)"));
  }
  return differs ? kDiffers : 0;
}

int Execute(const Options& options) {
  std::vector<File> files;
  for (const std::string& path : ManifestsOf(options.files)) {
    File file{.path = path,
              .name = path == "-" ? "standard input" : path,
              .text = ReadText(path),
              .result = {}};
    if (options.verb == Verb::kExplain) {
      Write(Explain(options, file));
      continue;
    }
    file.result = Process(options, file);
    files.push_back(std::move(file));
  }
  bool refused = false;
  for (const File& file : files) {
    Report(file);
    refused |= file.result.refused();
  }
  if (refused) {
    Say("sluice-inject: nothing was written: see what was refused above");
    return kRefused;
  }
  return options.verb == Verb::kExplain ? 0 : Emit(options, files);
}

}  // namespace

int Run(const std::vector<std::string>& arguments) {
  try {
    if (const auto text = AnswerCompletion(arguments, DescribeProgram)) return Write(*text), 0;
    const Options options = ParseOptions(arguments);
    if (options.help) return Write(HelpText()), 0;
    if (options.version) return Write("sluice-inject " SLUICE_VERSION_TEXT "\n"), 0;
    if (options.verb == Verb::kPrintConfig) return Write(DescribeSettings(options.settings)), 0;
    if (options.verb == Verb::kCertificate) {
      return Write(CertificateManifests(options.certificate)), 0;
    }
    if (options.verb == Verb::kServe) {
      webhook::ServerOptions server = options.server;
      server.version = SLUICE_VERSION;
      webhook::Serve(server, DecideBy(options.settings));
      return 0;
    }
    return Execute(options);
  } catch (const Error& error) {
    Say(std::string("sluice-inject: ") + error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    Say(std::string("sluice-inject: ") + error.what());
    return static_cast<int>(ErrorKind::kFailed);
  }
}

}  // namespace sluice::inject
