// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <span>

namespace sluice::proxy {

// Permanently drops all capabilities of the calling thread except those in `kept`, and sets
// no_new_privs, so that execve cannot regain any. Clears the effective, permitted, inheritable and
// ambient sets, and the bounding set if permitted (CAP_SETPCAP). Threads inherit the rest, so call
// this before starting any. Without capabilities uid 0 is like any other user, except for root's
// files. Values in `kept` are those of <linux/capability.h>, such as CAP_NET_ADMIN. Throws
// sluice::Error.
void KeepCapabilities(std::span<const int> kept);

}  // namespace sluice::proxy
