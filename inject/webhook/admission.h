// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>

#include "inject/manifest.h"

namespace sluice::inject::webhook {

// The answer to an AdmissionReview (admission.k8s.io/v1).
struct Answer {
  enum class Kind {
    kInjected,   // with a patch
    kUnchanged,  // already injected
    kSkipped,    // allowed unchanged; `reason` says why
    kRefused,    // denied; `reason` says why
    kInvalid,    // not an AdmissionReview: HTTP status 400, and `body` is text
  };
  Kind kind = Kind::kInvalid;
  std::string body = {};
  std::string reason = {};
  // The request's uid, for the log.
  std::string uid = {};
  std::string name_space = {};
  std::string pod = {};
};

std::string_view NameOf(Answer::Kind kind);

// Answers the body of a request. Created pods get what `decide` says; everything else is allowed
// unchanged. Stateless: equal requests get equal answers. The pod is marked with `version`.
Answer Review(std::string_view body, const std::string& version, const Decide& decide);

}  // namespace sluice::inject::webhook
