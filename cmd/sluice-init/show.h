// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

#include "capture/settings/init_config.h"
#include "cmd/sluice-init/backends.h"
#include "netns/network_state.h"

namespace sluice::init {

// What of ours is installed in the network namespace of the calling thread, with packet counters:
// rules of both backends, policy rules, routes and addresses. Of `config` only how to show counts;
// changes nothing.
std::string ShowText(const capture::InitConfig& config, netns::NetworkState& network,
                     Backends& backends);
std::string ShowJson(const capture::InitConfig& config, netns::NetworkState& network,
                     Backends& backends);

// The result of `diff`.
struct Drift {
  // A table, policy routing or an address.
  struct Part {
    std::string name;
    std::string diff;  // unified; "" when there is no difference
  };
  std::vector<Part> parts;

  bool any() const;
  std::string Text() const;  // the diffs; "" for none
  std::string Json() const;
};

// What an apply (or, for cleanup_only, a clean-up) with this configuration would change. `config`
// is complete (FillFromHost). Changes nothing.
Drift FindDrift(const capture::InitConfig& config, netns::NetworkState& network,
                Backends& backends);

}  // namespace sluice::init
