#pragma once

#include <string>

#include "cmd/sluice-init/init_config.h"
#include "cmd/sluice-init/network_state.h"

namespace sluice::init {

// What of ours is installed in the network namespace of the calling thread, with packet counters:
// rules, policy rules, routes and addresses. Needs no configuration; changes nothing.
std::string ShowText(NetworkState& network);
std::string ShowJson(NetworkState& network);

// The result of `diff`.
struct Drift {
  // One unified diff for each table, policy routing and address that differs; "" for none.
  std::string text;
  bool any() const { return !text.empty(); }
};

// What an apply (or, for cleanup_only, a clean-up) with this configuration would change. `config`
// is complete (FillFromHost). Changes nothing.
Drift FindDrift(const InitConfig& config, NetworkState& network);

}  // namespace sluice::init
