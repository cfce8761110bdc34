// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/os/reset_on_close.h"

#include <sys/socket.h>

namespace sluice {

void ResetOnClose(int fd) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  static_cast<void>(::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)));
}

}  // namespace sluice
