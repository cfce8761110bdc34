// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "capture/backend.h"
#include "capture/settings/init_config.h"
#include "capture/transaction.h"
#include "netns/network_state.h"

namespace sluice::apply {

// What steps work on. Outlives them.
struct PlanContext {
  netns::NetworkState& network;
  capture::Backend& backend;
  // Whose rules go, once those of `backend` are there; nullptr for none.
  capture::Backend* other = nullptr;
  // What a step had to leave out.
  std::vector<std::string> warnings = {};
};

// The steps that bring the network namespace to what `config` says, or, for cleanup_only, to where
// no Sluice rules are left: rules by family and table, then what stands beside them.
std::vector<std::unique_ptr<capture::Step>> PlanSteps(const capture::InitConfig& config,
                                                      PlanContext& context);

}  // namespace sluice::apply
