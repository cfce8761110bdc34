// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/json/array.hpp>

#include "inject/edit/operation.h"
#include "inject/edit/status.h"
#include "inject/yaml/node.h"

namespace sluice::inject {

// The additions to a pod.
struct Additions {
  // Annotations that the pod already has stay unchanged.
  std::vector<std::pair<std::string, std::string>> annotations;
  std::vector<std::pair<std::string, std::string>> labels;
  // Containers, each with a name, to add before and after the existing ones.
  boost::json::array init_first;
  boost::json::array init_last;
  boost::json::array containers_first;
  boost::json::array containers_last;
  // Each with a name that the pod does not have.
  boost::json::array volumes;
};

struct Plan {
  std::vector<Operation> operations;
  std::vector<std::string> warnings;
};

// How to add `additions` to the pod at `pod`, with the status annotation. `text` is the whole text
// that the document was parsed from, or empty; `status` has the version and the fingerprint. Throws
// Refusal.
Plan PlanAdditions(std::string_view text, const yaml::Node& root, const yaml::Reader& reader,
                   const Path& pod, const Additions& additions, Status status);

// How to remove what `status` names. What is already gone is left out. Throws Refusal.
std::vector<Operation> PlanRemovals(const yaml::Node& root, const yaml::Reader& reader,
                                    const Path& pod, const Status& status);

}  // namespace sluice::inject
