// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

namespace sluice::trace {

// The process that has a socket.
struct Holder {
  pid_t pid = 0;
  std::string command = {};  // the kernel's name of up to 15 characters
  std::optional<std::uint32_t> gid = {};
};

// Finds processes by their sockets in /proc/PID/fd, as far as it may read there: those of the same
// user without a capability, others with CAP_SYS_PTRACE, and none outside of this PID namespace.
class Processes {
 public:
  // Tries the processes that had the last sockets first. `thorough`: then all others, up to a
  // limit, those of the user `uid` first.
  std::optional<Holder> HolderOf(std::uint32_t inode, std::uint32_t uid, bool thorough);

 private:
  std::deque<pid_t> last_;
};

}  // namespace sluice::trace
