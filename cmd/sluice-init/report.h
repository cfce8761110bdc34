// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "capture/settings/init_config.h"
#include "capture/transaction.h"
#include "verify/check.h"

namespace sluice::init {

// The exit code of `diff` when something would change.
inline constexpr int kDriftExitCode = 10;
// The exit code of `doctor` when it finds a problem.
inline constexpr int kProblemExitCode = 10;

// The result of a run, for people and for machines.
struct Report {
  std::string action;             // "apply", "clean-up", "dry run", ...
  std::string network_namespace;  // "net:[4026531840]"
  std::string backend;            // "iptables", "nftables"; empty until chosen
  std::string backend_why;
  std::vector<capture::StepResult> steps;
  std::vector<verify::Check> checks;  // of the validation
  std::vector<std::string> warnings;
  std::vector<std::string> notes;
  std::optional<Error> error;
  bool drift = false;    // diff: something would change
  bool problem = false;  // doctor: there is a problem
  std::string summary;   // doctor: the result of the checks; trace: what was seen;
                         // graph: where it is, unless on standard output
  std::chrono::microseconds duration{0};

  bool changed() const;
  int exit_code() const {
    if (error) return error->exit_code();
    if (problem) return kProblemExitCode;
    return drift ? kDriftExitCode : 0;
  }
  // The result in words: "done", "already in place, nothing written", ...
  std::string Outcome() const;
};

// Writes the report to stderr: as lines for people, of `level` and more severe ones; or as one JSON
// object, at any level but kNone.
void Print(const Report& report, capture::LogFormat format, capture::LogLevel level);

// The lines for people.
std::string ToText(const Report& report, capture::LogLevel level);

// The JSON object, on one line.
std::string ToJson(const Report& report);

// The output of `verify --output json`: the result and each check.
std::string ChecksJson(const Report& report);

}  // namespace sluice::init
