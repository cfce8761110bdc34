// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>

#include "inject/manifest.h"

namespace sluice::inject::webhook {

// What an AdmissionReview (admission.k8s.io/v1) is answered with.
struct Answer {
  enum class Kind {
    kInjected,   // with a patch
    kUnchanged,  // it was injected before
    kSkipped,    // allowed as it is; `reason` says why
    kRefused,    // not allowed; `reason` says why
    kInvalid,    // no AdmissionReview: HTTP status 400, and `body` is text
  };
  Kind kind = Kind::kInvalid;
  std::string body = {};
  std::string reason = {};
  // Of the request, for the log.
  std::string uid = {};
  std::string name_space = {};
  std::string pod = {};
};

std::string_view NameOf(Answer::Kind kind);

// Answers the body of a request. Pods that are created get what `decide` says; all else is allowed
// as it is. Keeps nothing: equal requests get equal answers. `version` is noted in the pod.
Answer Review(std::string_view body, const std::string& version, const Decide& decide);

}  // namespace sluice::inject::webhook
