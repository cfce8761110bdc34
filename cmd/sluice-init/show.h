// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>

#include "apply/backends.h"
#include "capture/settings/init_config.h"
#include "netns/network_state.h"

namespace sluice::init {

// The installed Sluice rules in the network namespace of the calling thread, with packet counters:
// rules of both backends, policy rules, routes and addresses. Uses `config` only for how to show
// counts; changes nothing.
std::string ShowText(const capture::InitConfig& config, netns::NetworkState& network,
                     apply::Backends& backends);
std::string ShowJson(const capture::InitConfig& config, netns::NetworkState& network,
                     apply::Backends& backends);

}  // namespace sluice::init
