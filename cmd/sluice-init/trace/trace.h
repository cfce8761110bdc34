// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>

#include "capture/settings/init_config.h"
#include "netns/network_state.h"

namespace sluice::init {

// Prints new connections of the calling thread's network namespace as they begin, until the time or
// the count is over, or SIGINT or SIGTERM arrives. Returns a summary. Adds to config.warnings.
// Needs CAP_NET_ADMIN; throws sluice::Error.
std::string Trace(capture::InitConfig& config, netns::NetworkState& network);

}  // namespace sluice::init
