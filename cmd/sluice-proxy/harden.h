#pragma once

namespace sluice::proxy {

// Gives up what a running proxy does not need, for all threads of the process and for good: gaining
// privileges by execve (no_new_privs), and all system calls but those that it uses (seccomp(2));
// any other kills the process with SIGSYS. No privilege is needed. Throws sluice::Error.
void Harden();

}  // namespace sluice::proxy
