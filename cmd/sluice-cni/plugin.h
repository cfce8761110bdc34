// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>

#include "cmd/sluice-cni/request.h"

namespace sluice::cni {

// Does what a runtime asks; the text is for standard output. Throws Failure. Warnings go to
// standard error. For ADD, CHECK and DEL of a pod of ours the calling thread, the only one, goes
// into the pod's network namespace for good.
std::string Answer(const Request& request);

// All of a call: reads standard input, prints the answer or the failure. The exit status.
int RunPlugin(const Environment& environment);

}  // namespace sluice::cni
