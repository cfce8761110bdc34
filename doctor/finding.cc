// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "doctor/finding.h"

#include <algorithm>
#include <array>

#include <boost/json.hpp>

#include "base/text/pretty_json.h"

namespace sluice::doctor {

std::string_view Name(State state) {
  constexpr std::array<std::string_view, 4> kNames = {"ok", "note", "warning", "problem"};
  return kNames.at(static_cast<std::size_t>(state));
}

void SortWorstFirst(std::vector<Finding>& findings) {
  std::ranges::stable_sort(findings, std::ranges::greater(), &Finding::state);
}

bool HasProblem(const std::vector<Finding>& findings) {
  return std::ranges::find(findings, State::kProblem, &Finding::state) != findings.end();
}

std::string Summary(const std::vector<Finding>& findings) {
  std::string out;
  const auto add = [&out](std::ptrdiff_t count, std::string_view what, bool plural) {
    if (count == 0) return;
    if (!out.empty()) out += ", ";
    out += std::to_string(count) + " " + std::string(what) + (plural && count != 1 ? "s" : "");
  };
  for (const State state : {State::kProblem, State::kWarning, State::kNote, State::kOk}) {
    add(std::ranges::count_if(
            findings, [state](const Finding& one) { return one.checked && one.state == state; }),
        Name(state), state != State::kOk);
  }
  add(std::ranges::count(findings, false, &Finding::checked), "not checked", false);
  return out;
}

std::string ToText(const std::vector<Finding>& findings) {
  constexpr std::size_t kColumn = 9;  // after the longest name of a state
  std::string out;
  for (const Finding& one : findings) {
    std::string state(Name(one.state));
    state.resize(kColumn, ' ');
    out += state + one.name + ": " + (one.checked ? "" : "not checked: ") + one.found + "\n";
    if (!one.remedy.empty()) out += std::string(kColumn, ' ') + "  remedy: " + one.remedy + "\n";
  }
  return out + Summary(findings) + "\n";
}

std::string ToJson(const std::vector<Finding>& findings) {
  boost::json::array checks;
  for (const Finding& one : findings) {
    checks.push_back({{"name", one.name},
                      {"state", Name(one.state)},
                      {"checked", one.checked},
                      {"found", one.found},
                      {"remedy", one.remedy}});
  }
  return PrettyJson(boost::json::object{{"result", HasProblem(findings) ? "problem" : "ok"},
                                        {"summary", Summary(findings)},
                                        {"checks", std::move(checks)}});
}

}  // namespace sluice::doctor
