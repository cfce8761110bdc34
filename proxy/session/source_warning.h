// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include "base/ip_address.h"

namespace sluice::proxy {

// Says once that this network namespace does not have `source`, from which inbound connections are
// made, and what adds it. Thread-safe.
void WarnAboutSourceOnce(const IpAddress& source);

}  // namespace sluice::proxy
