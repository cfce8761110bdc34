// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string_view>

namespace sluice::proxy {

// Sends "READY=1" or "STOPPING=1" to the service manager (sd_notify(3)). Does nothing if there is
// none (NOTIFY_SOCKET is not set), and ignores failures: they are no reason for a working proxy to
// end.
void Notify(std::string_view state);

}  // namespace sluice::proxy
