// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::doctor {

// From good to harmful for capture.
enum class State : std::uint8_t { kOk, kNote, kWarning, kProblem };

// "ok", "note", "warning", "problem". Stable: machines read it.
std::string_view Name(State state);

// The result of one check.
struct Finding {
  std::string name;  // of the check: "listeners". Stable.
  State state = State::kOk;
  std::string found = {};   // one sentence, without a full stop
  std::string remedy = {};  // what to do about it; empty if nothing
  bool checked = true;      // false: the check could not be made; `found` says why
};

// Worst first; findings of equal state keep their order.
void SortWorstFirst(std::vector<Finding>& findings);

bool HasProblem(const std::vector<Finding>& findings);

// "1 problem, 2 warnings, 12 ok, 1 not checked"; without the zeros.
std::string Summary(const std::vector<Finding>& findings);

// One line for each finding and one for its remedy; the summary comes last.
std::string ToText(const std::vector<Finding>& findings);

// One object, for machines (docs/sluice-init.doctor.schema.json).
std::string ToJson(const std::vector<Finding>& findings);

}  // namespace sluice::doctor
