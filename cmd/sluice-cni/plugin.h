// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>

#include "cmd/sluice-cni/request.h"

namespace sluice::cni {

// Handles a runtime's request; returns the text for standard output. Throws Failure. Warnings go to
// standard error. For ADD, CHECK and DEL of a pod of ours the calling thread, which must be the
// only one, moves into the pod's network namespace for good.
std::string Answer(const Request& request);

// A complete call: reads standard input, prints the answer or failure, returns the exit status.
int RunPlugin(const Environment& environment);

}  // namespace sluice::cni
