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
// That of `doctor` when something stands against capture.
inline constexpr int kProblemExitCode = 10;

// What a run came to, for people and for machines.
struct Report {
  std::string action;             // "apply", "clean-up", "dry run", ...
  std::string network_namespace;  // "net:[4026531840]"
  std::string backend;            // "iptables", "nftables"; empty before it is chosen
  std::string backend_why;
  std::vector<capture::StepResult> steps;
  std::vector<verify::Check> checks;  // of the validation
  std::vector<std::string> warnings;
  std::vector<std::string> notes;
  std::optional<Error> error;
  bool drift = false;    // of diff: something would change
  bool problem = false;  // of doctor: something stands against capture
  std::string summary;   // of doctor: what the checks came to
  std::chrono::microseconds duration{0};

  bool changed() const;
  int exit_code() const {
    if (error) return error->exit_code();
    if (problem) return kProblemExitCode;
    return drift ? kDriftExitCode : 0;
  }
  // What it came to, in words: "done", "already in place, nothing written", ...
  std::string Outcome() const;
};

// Writes it to stderr: lines for people, those of `level` and what is worse; or one JSON object, at
// any level but kNone.
void Print(const Report& report, capture::LogFormat format, capture::LogLevel level);

// The lines for people.
std::string ToText(const Report& report, capture::LogLevel level);

// The JSON object, on one line.
std::string ToJson(const Report& report);

// What `verify --output json` prints: the result and each check.
std::string ChecksJson(const Report& report);

}  // namespace sluice::init
