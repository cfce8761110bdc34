// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "inject/manifest.h"

namespace sluice::inject {

struct ObjectResult {
  std::vector<Outcome> outcomes = {};  // one for each workload
  boost::json::array patch = {};       // empty if nothing changes
};

// Like Inject(), for an object that was never text: the same decision and operations, as a JSON
// Patch. `name_space` is for workloads without one. Additions of an earlier call are kept if others
// have only added to them since: defaults of the API server, mounts.
ObjectResult InjectObject(const boost::json::object& object, std::string_view name_space,
                          const std::string& version, const Decide& decide);

}  // namespace sluice::inject
