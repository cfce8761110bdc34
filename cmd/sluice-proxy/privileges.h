// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <span>

namespace sluice::proxy {

// Gives up, for good, all capabilities of the calling thread but those of `kept` that it has, and
// gaining any by execve (no_new_privs): from the effective, permitted, inheritable and ambient
// sets, and all of the bounding set when that is allowed (CAP_SETPCAP). Threads inherit what is
// left, so call it before the first is started. uid 0 without a capability is a user like any
// other, except for the files that are root's. `kept` as CAP_NET_ADMIN of <linux/capability.h>.
// Throws sluice::Error.
void KeepCapabilities(std::span<const int> kept);

}  // namespace sluice::proxy
