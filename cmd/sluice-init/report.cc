#include "cmd/sluice-init/report.h"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <string_view>
#include <utility>

#include <boost/json.hpp>
#include <fmt/format.h>

namespace sluice::init {
namespace {

namespace json = boost::json;

double Milliseconds(std::chrono::microseconds duration) {
  return static_cast<double>(duration.count()) / 1000;
}

// Lines of text, collected so that they are written at once. spdlog's logger, made for a program
// that lives longer, costs as much as a commit.
class Lines {
 public:
  template <typename... Values>
  void Add(const char* level, fmt::format_string<Values...> format, Values&&... values) {
    const auto end = std::back_inserter(text_);
    fmt::format_to(end, "sluice-init: {}: ", level);
    fmt::format_to(end, format, std::forward<Values>(values)...);
    text_.push_back('\n');
  }
  std::string_view text() const { return {text_.data(), text_.size()}; }

 private:
  fmt::memory_buffer text_;
};

void AddText(const Report& report, Lines& lines) {
  for (const std::string& warning : report.warnings) lines.Add("warning", "{}", warning);
  for (const verify::Check& check : report.checks) {
    lines.Add(check.status == verify::CheckStatus::kFailed ? "error" : "info", "{} {}: {}: {}",
              Name(check.family), check.path, Name(check.status), check.detail);
  }
  if (report.error) {
    lines.Add("error", "{} (exit code {})", report.error->what(), report.exit_code());
    return;
  }
  for (const capture::StepResult& step : report.steps) {
    // What is not ours and is not there is not worth a line.
    if (!step.changed && step.summary == "nothing of ours") continue;
    if (step.summary == "nothing of ours") {
      lines.Add("info", "{}: removed", step.name);
    } else {
      lines.Add("info", "{}: {}: {}", step.name, step.changed ? "written" : "in place",
                step.summary);
    }
  }
  lines.Add("info", "{} in {}: {} ({:.2f} ms)", report.action, report.network_namespace,
            report.Outcome(), Milliseconds(report.duration));
}

}  // namespace

bool Report::changed() const { return std::ranges::any_of(steps, &capture::StepResult::changed); }

std::string Report::Outcome() const {
  if (action == "diff") return drift ? "something would change" : "no drift";
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
  json::array& steps = out["steps"].emplace_array();
  for (const capture::StepResult& step : report.steps) {
    steps.push_back({{"name", step.name}, {"changed", step.changed}, {"summary", step.summary}});
  }
  json::array& checks = out["checks"].emplace_array();
  for (const verify::Check& check : report.checks) {
    checks.push_back({{"family", Name(check.family)},
                      {"path", check.path},
                      {"status", Name(check.status)},
                      {"detail", check.detail}});
  }
  out["warnings"] = json::value_from(report.warnings);
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

void Print(const Report& report, capture::LogFormat format) {
  if (format == capture::LogFormat::kText) {
    Lines lines;
    AddText(report, lines);
    std::fwrite(lines.text().data(), 1, lines.text().size(), stderr);
  } else {
    std::fprintf(stderr, "%s\n", ToJson(report).c_str());
  }
}

}  // namespace sluice::init
