// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string_view>

namespace sluice::proxy {

// Tells the service manager, "READY=1" or "STOPPING=1" (sd_notify(3)). Does nothing when nobody
// wants to know (NOTIFY_SOCKET is not set), and when it cannot: a proxy that works must not end for
// that.
void Notify(std::string_view state);

}  // namespace sluice::proxy
