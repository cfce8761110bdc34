// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

namespace sluice {

// Makes the next close(2) of a TCP socket send a reset, discard unsent data, and leave no port in
// TIME_WAIT. Fails silently for anything else.
void ResetOnClose(int fd);

}  // namespace sluice
