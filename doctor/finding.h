// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::doctor {

// From what is well to what stands against capture.
enum class State : std::uint8_t { kOk, kNote, kWarning, kProblem };

// "ok", "note", "warning", "problem". Stable: machines read it.
std::string_view Name(State state);

// What one check came to.
struct Finding {
  std::string name;  // of the check: "listeners". Stable.
  State state = State::kOk;
  std::string found = {};   // one sentence, without a full stop
  std::string remedy = {};  // what to do about it; empty where there is nothing to do
  bool checked = true;      // false: it could not be made, and `found` says why
};

// Worst first; those of one state stay in their order.
void SortWorstFirst(std::vector<Finding>& findings);

bool HasProblem(const std::vector<Finding>& findings);

// "1 problem, 2 warnings, 12 ok, 1 not checked"; what there is none of is left out.
std::string Summary(const std::vector<Finding>& findings);

// A line of each finding and one of its remedy; the summary comes last.
std::string ToText(const std::vector<Finding>& findings);

// One object, for machines (docs/sluice-init.doctor.schema.json).
std::string ToJson(const std::vector<Finding>& findings);

}  // namespace sluice::doctor
