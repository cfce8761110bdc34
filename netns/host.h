// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/ip_address.h"
#include "capture/settings/init_config.h"
#include "netns/network_state.h"

namespace sluice::netns {

// Completes `config` with what only the host can say: whether there are IPv6 rules, and which
// resolvers there are. Needs no privilege. Adds to config.warnings what the user should know.
void FillFromHost(capture::InitConfig& config, NetworkState& network);

// The resolv.conf of a network namespace as --network-namespace names it: what `ip netns exec`
// would bind over /etc/resolv.conf for a name or a path under /run/netns, and the file of the
// process for pid:N or a path under /proc. The caller's own for an empty name; empty where nobody
// can tell.
std::string ResolvConfOf(std::string_view network_namespace);

}  // namespace sluice::netns
