// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

#include "apply/backends.h"
#include "capture/settings/init_config.h"
#include "netns/network_state.h"

namespace sluice::apply {

// How a network namespace differs from a configuration.
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

// What an apply with this configuration (or a clean-up, for cleanup_only) would change. `config`
// must be complete (FillFromHost). Changes nothing.
Drift FindDrift(const capture::InitConfig& config, netns::NetworkState& network,
                Backends& backends);

}  // namespace sluice::apply
