// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Loaded into sluice-init (LD_PRELOAD): kills it with SIGKILL before call number
// $SLUICE_KILL_AT_CALL. Counts calls that can change a namespace, from 1.

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

namespace {

void Count() {
  static const char* const wanted = std::getenv("SLUICE_KILL_AT_CALL");
  static long left = wanted != nullptr ? std::strtol(wanted, nullptr, 10) : 0;
  if (left <= 0) std::abort();  // a test that never kills proves nothing
  if (--left > 0) return;
  ::kill(::getpid(), SIGKILL);
}

}  // namespace

// How a table of x_tables is committed.
extern "C" int setsockopt(int fd, int level, int option, const void* value,
                          socklen_t size) noexcept {
  Count();
  return static_cast<int>(syscall(SYS_setsockopt, fd, level, option, value, size));
}

// How libnl requests an address, a policy rule or a route.
extern "C" ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  Count();
  return syscall(SYS_sendmsg, fd, message, flags);
}
