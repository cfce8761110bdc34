// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace sluice {

// Processes by proc(5). What cannot be read is left out: a process may end at any time.

// The processes that this one sees, in the order of /proc.
std::vector<::pid_t> ListProcesses();

// Calls `visit` for each descriptor of a process with the inode of its socket, or 0 if it is none,
// until that returns false. Other users' processes take CAP_SYS_PTRACE.
void ForEachDescriptor(::pid_t pid, const std::function<bool(std::uint64_t inode)>& visit);

}  // namespace sluice
