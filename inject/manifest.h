// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/array.hpp>

#include "inject/edit/plan.h"
#include "inject/workload.h"
#include "inject/yaml/node.h"

namespace sluice::inject {

// What to do with a workload.
struct Decision {
  enum class Kind { kInject, kSkip, kRefuse };
  Kind kind = Kind::kInject;
  std::string reason = {};  // why it is not injected
  std::size_t line = 0;     // the line that the reason is about; 0 for the workload's own
  std::vector<std::string> warnings = {};
  Additions additions = {};
};

using Decide = std::function<Decision(const Workload&, const yaml::Reader&)>;

// The result for a workload.
struct Outcome {
  enum class Kind {
    kInjected,
    kUnchanged,  // already injected with the same settings
    kSkipped,
    kRefused,
    kRestored,  // the additions were removed, and the document is identical to the
                // original
    kEdited,    // the same, but the document has been edited since
  };
  Kind kind = Kind::kSkipped;
  std::size_t line = 0;
  std::string title = {};       // "Deployment web"
  std::string name_space = {};  // "" for none
  std::string reason = {};      // why it was skipped or refused
  std::vector<std::string> warnings = {};
};

// The JSON Patch of a changed document.
struct DocumentPatch {
  std::size_t document = 0;  // counted from 0
  std::size_t line = 0;
  boost::json::array patch = {};
};

struct Result {
  std::string text = {};
  std::vector<Outcome> outcomes = {};  // one for each workload, in the order of the text
  std::vector<DocumentPatch> patches = {};

  bool refused() const;
};

// Adds what `decide` says to each workload in `text`. First removes the additions of an earlier
// run, so that running twice changes nothing. A refused workload stays unchanged. Throws
// Error(kFailed) for invalid YAML; messages call the text `name`, and it is marked with `version`.
Result Inject(std::string_view text, const std::string& name, const std::string& version,
              const Decide& decide);

// `text` without the additions of Inject().
Result Uninject(std::string_view text, const std::string& name);

}  // namespace sluice::inject
