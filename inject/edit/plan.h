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

// What goes into a pod.
struct Additions {
  // Those that the pod has already stay as they are.
  std::vector<std::pair<std::string, std::string>> annotations;
  std::vector<std::pair<std::string, std::string>> labels;
  // Containers, each with a name, before and behind those that are there.
  boost::json::array init_first;
  boost::json::array init_last;
  boost::json::array containers_first;
  boost::json::array containers_last;
};

struct Plan {
  std::vector<Operation> operations;
  std::vector<std::string> warnings;
};

// How `additions` get into the pod at `pod`, with the annotation that says so. `text` is the whole
// text that the document was parsed from, empty when it never was text; `status` has the version
// and the fingerprint. Throws Refusal.
Plan PlanAdditions(std::string_view text, const yaml::Node& root, const yaml::Reader& reader,
                   const Path& pod, const Additions& additions, Status status);

// How what `status` names gets out again. What is not there any more is left out. Throws Refusal.
std::vector<Operation> PlanRemovals(const yaml::Node& root, const yaml::Reader& reader,
                                    const Path& pod, const Status& status);

}  // namespace sluice::inject
