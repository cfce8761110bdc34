// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

namespace sluice::proxy {

// Gives up all system calls but those that a running proxy uses (seccomp(2)), for all threads of
// the process and for good; any other kills the process with SIGSYS. Sets no_new_privs, without
// which it would need a privilege. Throws sluice::Error.
void Harden();

// No core dump of this process, and no other process of its user may look into its memory. Throws
// sluice::Error.
void NoCoreDumps();

}  // namespace sluice::proxy
