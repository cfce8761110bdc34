// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Loaded into sluice-init (LD_PRELOAD): its sockets get no larger send buffers than those of a user
// namespace where net.core.wmem_max is as the kernel has it, whatever this machine says.

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

extern "C" int setsockopt(int fd, int level, int option, const void* value,
                          socklen_t size) noexcept {
  int bytes = 0;
  if (level == SOL_SOCKET && option == SO_SNDBUFFORCE) {
    errno = EPERM;
    return -1;
  }
  if (level == SOL_SOCKET && option == SO_SNDBUF && size == sizeof(bytes)) {
    constexpr int kMost = 212'992;
    std::memcpy(&bytes, value, sizeof(bytes));
    bytes = std::min(bytes, kMost);
    value = &bytes;
  }
  return static_cast<int>(syscall(SYS_setsockopt, fd, level, option, value, size));
}
