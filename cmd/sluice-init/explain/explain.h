// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

#include "capture/backend.h"
#include "capture/explain/model.h"
#include "capture/explain/walk.h"
#include "capture/settings/init_config.h"
#include "netns/network_state.h"

namespace sluice::init {

// All installed rules in the namespace of the calling thread. `unreadable`: what happens if
// x_tables cannot be read for want of a capability; if it is noted, the model has no tables of
// x_tables.
enum class Unreadable : bool { kFails, kIsNoted };
capture::explain::Model ReadInstalled(Unreadable unreadable = Unreadable::kFails);

// What the configuration would install; FillFromHost must have completed it.
capture::explain::Model PlanModel(const capture::InitConfig& config,
                                  const capture::Backend& backend);

// The same for rules that are not compiled for `backend`, or are.
capture::explain::Model ModelFor(const capture::RuleSet& rules, const capture::Backend& backend);

// The output of `explain`: for the connection in `config.explain`, or for each line of
// `config.batch`. Throws Error(kUsage) for an impossible connection.
std::string Explain(const capture::InitConfig& config, const capture::explain::Model& model,
                    netns::NetworkState& network);

}  // namespace sluice::init
