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

// What is to be done with a workload.
struct Decision {
  enum class Kind { kInject, kSkip, kRefuse };
  Kind kind = Kind::kInject;
  std::string reason = {};  // of what is not injected
  std::size_t line = 0;     // that the reason is about; 0 for the workload's own
  std::vector<std::string> warnings = {};
  Additions additions = {};
};

using Decide = std::function<Decision(const Workload&, const yaml::Reader&)>;

// What became of a workload.
struct Outcome {
  enum class Kind {
    kInjected,
    kUnchanged,  // it was injected with the same settings before
    kSkipped,
    kRefused,
    kRestored,  // what was put in was taken out, and the document is what it was before, by the
                // byte
    kEdited,    // the same, but somebody has edited the document since
  };
  Kind kind = Kind::kSkipped;
  std::size_t line = 0;
  std::string title = {};       // "Deployment web"
  std::string name_space = {};  // "" for none
  std::string reason = {};      // of what was skipped or refused
  std::vector<std::string> warnings = {};
};

// The JSON Patch of a document that changes.
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

// `text` with what `decide` says put into each workload. What an earlier run put in is taken out
// first, so that two runs are one. A workload that is refused stays as it is. Throws Error(kFailed)
// for what is no YAML; `name` is what to call the text, `version` is noted in it.
Result Inject(std::string_view text, const std::string& name, const std::string& version,
              const Decide& decide);

// `text` without what Inject() put in.
Result Uninject(std::string_view text, const std::string& name);

}  // namespace sluice::inject
