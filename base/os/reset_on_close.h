// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

namespace sluice {

// The next close(2) of a TCP socket sends a reset, forgets what was not sent, and leaves no port in
// TIME_WAIT. Fails silently for anything else.
void ResetOnClose(int fd);

}  // namespace sluice
