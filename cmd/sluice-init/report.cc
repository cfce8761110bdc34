// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-init/report.h"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <string_view>
#include <utility>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "base/text/pretty_json.h"

namespace sluice::init {
namespace {

namespace json = boost::json;

double Milliseconds(std::chrono::microseconds duration) {
  return static_cast<double>(duration.count()) / 1000;
}

json::array ChecksArray(const Report& report) {
  json::array out;
  for (const verify::Check& check : report.checks) {
    out.push_back({{"family", Name(check.family)},
                   {"path", check.path},
                   {"status", Name(check.status)},
                   {"detail", check.detail}});
  }
  return out;
}

// Collects lines of text, to write them at once. spdlog's logger, which is made for long-lived
// programs, costs as much as a commit.
class Lines {
 public:
  // Keeps lines of level `least` and more severe ones.
  explicit Lines(capture::LogLevel least) : least_(least) {}

  template <typename... Values>
  void Add(capture::LogLevel level, fmt::format_string<Values...> format, Values&&... values) {
    if (level > least_) return;
    const auto end = std::back_inserter(text_);
    fmt::format_to(end, "sluice-init: {}: ", Word(level));
    fmt::format_to(end, format, std::forward<Values>(values)...);
    text_.push_back('\n');
  }
  std::string text() const { return {text_.data(), text_.size()}; }

 private:
  static const char* Word(capture::LogLevel level) {
    if (level == capture::LogLevel::kError) return "error";
    return level == capture::LogLevel::kWarning ? "warning" : "info";
  }

  capture::LogLevel least_;
  fmt::memory_buffer text_;
};

void AddText(const Report& report, Lines& lines) {
  for (const std::string& warning : report.warnings)
    lines.Add(capture::LogLevel::kWarning, "{}", warning);
  for (const std::string& note : report.notes) lines.Add(capture::LogLevel::kInfo, "{}", note);
  for (const verify::Check& check : report.checks) {
    lines.Add(check.status == verify::CheckStatus::kFailed ? capture::LogLevel::kError
                                                           : capture::LogLevel::kInfo,
              "{} {}: {}: {}", Name(check.family), check.path, Name(check.status), check.detail);
  }
  if (report.error) {
    lines.Add(capture::LogLevel::kError, "{} (exit code {})", report.error->what(),
              report.exit_code());
    return;
  }
  if (!report.backend.empty() && report.changed()) {
    lines.Add(capture::LogLevel::kInfo, "backend: {} ({})", report.backend, report.backend_why);
  }
  for (const capture::StepResult& step : report.steps) {
    // No line for what is neither wanted nor there.
    const bool nothing = step.summary == capture::Step::kNothing;
    if (!step.changed && nothing) continue;
    if (nothing) {
      lines.Add(capture::LogLevel::kInfo, "{}: removed", step.name);
    } else if (step.summary.empty()) {
      lines.Add(capture::LogLevel::kInfo, "{}: {}", step.name, step.changed ? "added" : "in place");
    } else {
      lines.Add(capture::LogLevel::kInfo, "{}: {}: {}", step.name,
                step.changed ? "written" : "in place", step.summary);
    }
  }
  lines.Add(capture::LogLevel::kInfo, "{} in {}: {} ({:.2f} ms)", report.action,
            report.network_namespace, report.Outcome(), Milliseconds(report.duration));
}

}  // namespace

bool Report::changed() const { return std::ranges::any_of(steps, &capture::StepResult::changed); }

std::string Report::Outcome() const {
  if (action == "diff") return drift ? "something would change" : "no drift";
  if (!summary.empty()) return summary;
  if (steps.empty() && !checks.empty()) return Summary(checks);
  if (steps.empty()) return "nothing written";
  return changed() ? "done" : "already in place, nothing written";
}

std::string ToJson(const Report& report) {
  json::object out;
  out["action"] = report.action;
  out["result"] = report.error ? "error" : "ok";
  out["exit_code"] = report.exit_code();
  if (report.action == "diff") out["drift"] = report.drift;
  out["changed"] = !report.error && report.changed();
  out["network_namespace"] = report.network_namespace;
  if (!report.backend.empty()) {
    out["backend"] = {{"name", report.backend}, {"why", report.backend_why}};
  }
  json::array& steps = out["steps"].emplace_array();
  for (const capture::StepResult& step : report.steps) {
    steps.push_back({{"name", step.name}, {"changed", step.changed}, {"summary", step.summary}});
  }
  out["checks"] = ChecksArray(report);
  out["warnings"] = json::value_from(report.warnings);
  out["notes"] = json::value_from(report.notes);
  if (report.error) {
    const ErrorText& text = report.error->text();
    out["error"] = {{"kind", Name(report.error->kind())},
                    {"doing", text.doing},
                    {"target", text.target},
                    {"why", text.why},
                    {"help", text.help}};
  }
  out["duration_ms"] = Milliseconds(report.duration);
  return json::serialize(out);
}

std::string ChecksJson(const Report& report) {
  return PrettyJson(json::object{{"result", report.error ? "failed" : "passed"},
                                 {"summary", verify::Summary(report.checks)},
                                 {"checks", ChecksArray(report)}});
}

std::string ToText(const Report& report, capture::LogLevel level) {
  Lines lines(level);
  AddText(report, lines);
  return lines.text();
}

void Print(const Report& report, capture::LogFormat format, capture::LogLevel level) {
  if (level == capture::LogLevel::kNone) return;
  if (format == capture::LogFormat::kText) {
    const std::string text = ToText(report, level);
    std::fwrite(text.data(), 1, text.size(), stderr);
  } else {
    std::fprintf(stderr, "%s\n", ToJson(report).c_str());
  }
}

}  // namespace sluice::init
