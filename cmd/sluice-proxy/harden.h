// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

namespace sluice::proxy {

// Forbids all system calls except those of a running proxy (seccomp(2)), for all threads and
// permanently; any other call kills the process with SIGSYS. Sets no_new_privs, without which this
// would need a privilege. Throws sluice::Error.
void Harden();

// No core dump of this process, and no other process of its user may look into its memory. Throws
// sluice::Error.
void NoCoreDumps();

}  // namespace sluice::proxy
