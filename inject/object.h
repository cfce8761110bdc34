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
  boost::json::array patch = {};       // empty when nothing changes
};

// As Inject(), of an object that never was text: the same decision and the same operations, as a
// JSON Patch. `name_space` is that of a workload that says none. What was put in by an earlier call
// stays when only others have added to it since: defaults of the API server, mounts.
ObjectResult InjectObject(const boost::json::object& object, std::string_view name_space,
                          const std::string& version, const Decide& decide);

}  // namespace sluice::inject
