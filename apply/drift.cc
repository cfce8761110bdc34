// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "apply/drift.h"

#include <algorithm>
#include <sstream>

#include <boost/json.hpp>

#include "apply/plan.h"
#include "base/text/pretty_json.h"
#include "base/text/unified_diff.h"

namespace sluice::apply {
namespace {

namespace json = boost::json;

// The lines of a diff that start with `sign`, without its headers.
json::array LinesWith(char sign, const std::string& diff) {
  json::array out;
  std::istringstream in(diff);
  std::string line;
  for (int number = 0; std::getline(in, line); ++number) {
    if (number >= 2 && line.starts_with(sign)) out.emplace_back(line.substr(1));
  }
  return out;
}

}  // namespace

Drift FindDrift(const capture::InitConfig& config, netns::NetworkState& network,
                Backends& backends) {
  PlanContext context{.network = network, .backend = backends.chosen(), .other = backends.other()};
  Drift drift;
  for (const auto& step : PlanSteps(config, context)) {
    drift.parts.push_back(
        {step->Name(), UnifiedDiff(step->Have(), step->Want(), "kernel: " + step->Name(),
                                   "configuration: " + step->Name())});
  }
  return drift;
}

bool Drift::any() const {
  return std::ranges::any_of(parts, [](const Part& part) { return !part.diff.empty(); });
}

std::string Drift::Text() const {
  std::string out;
  for (const Part& part : parts) out += part.diff;
  return out;
}

std::string Drift::Json() const {
  json::array out;
  for (const Part& part : parts) {
    out.push_back({{"name", part.name},
                   {"differs", !part.diff.empty()},
                   {"removed", LinesWith('-', part.diff)},
                   {"added", LinesWith('+', part.diff)}});
  }
  return PrettyJson(json::object{{"drift", any()}, {"parts", std::move(out)}});
}

}  // namespace sluice::apply
