// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/unique_fd.h"

#include <unistd.h>

#include <cerrno>

namespace sluice {

void UniqueFd::reset(int fd) {
  const int old = std::exchange(fd_, fd);
  if (old < 0) return;
  const int saved_errno = errno;
  // Never retried on EINTR: Linux has released the descriptor even then (close(2)).
  ::close(old);
  errno = saved_errno;
}

}  // namespace sluice
