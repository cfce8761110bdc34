// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>

#include "capture/backend.h"
#include "capture/settings/init_config.h"
#include "netns/network_state.h"

namespace sluice::init {

// What of ours is installed in the network namespace of the calling thread, with packet counters:
// rules, policy rules, routes and addresses. Needs no configuration; changes nothing.
std::string ShowText(netns::NetworkState& network, capture::Backend& backend);
std::string ShowJson(netns::NetworkState& network, capture::Backend& backend);

// The result of `diff`.
struct Drift {
  // One unified diff for each table, policy routing and address that differs; "" for none.
  std::string text;
  bool any() const { return !text.empty(); }
};

// What an apply (or, for cleanup_only, a clean-up) with this configuration would change. `config`
// is complete (FillFromHost). Changes nothing.
Drift FindDrift(const capture::InitConfig& config, netns::NetworkState& network,
                capture::Backend& backend);

}  // namespace sluice::init
