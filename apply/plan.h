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

// What steps work on. Must outlive them.
struct PlanContext {
  netns::NetworkState& network;
  capture::Backend& backend;
  // The backend to remove rules from, after those of `backend` are in place; nullptr for none.
  capture::Backend* other = nullptr;
  // What steps had to leave out.
  std::vector<std::string> warnings = {};
};

// The steps that bring the network namespace to the state of `config` or, for cleanup_only, remove
// all Sluice rules: rules by family and table, then policy routing and addresses.
std::vector<std::unique_ptr<capture::Step>> PlanSteps(const capture::InitConfig& config,
                                                      PlanContext& context);

}  // namespace sluice::apply
