// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <string_view>

namespace sluice {

// A duration as users type it, and as Go's time.ParseDuration reads it, so that one of Istio's or
// Kubernetes' manifests means the same here: decimal numbers with units, as in "500ms", "1.5s",
// "1m30s" or "2h". Unlike there it has no sign, and a plain number is in seconds. All flags and
// annotations use this grammar. Throws std::invalid_argument for anything else, for what is no
// whole number of milliseconds and for more than `max`, which is 25 years at most; its what() says
// what is expected.
std::chrono::milliseconds ParseDuration(std::string_view text, std::chrono::hours max);

}  // namespace sluice
