// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/ip_address.h"
#include "capture/settings/init_config.h"
#include "netns/network_state.h"

namespace sluice::netns {

// Adds to `config` what depends on the host: whether there are IPv6 rules, and the resolvers. Needs
// no privilege. Adds to config.warnings what the user should know.
void FillFromHost(capture::InitConfig& config, NetworkState& network);

// The resolv.conf of a network namespace given as in --network-namespace: for a name or a path
// under /run/netns, the file that `ip netns exec` would bind over /etc/resolv.conf; for pid:N or a
// path under /proc, the process's file. The caller's own for an empty name; empty if it is not
// known.
std::string ResolvConfOf(std::string_view network_namespace);

}  // namespace sluice::netns
