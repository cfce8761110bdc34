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

// Everybody's rules that are installed in the namespace of the calling thread.
capture::explain::Model ReadInstalled();

// What the configuration, which must have been completed by FillFromHost, would install.
capture::explain::Model PlanModel(const capture::InitConfig& config,
                                  const capture::Backend& backend);

// What `explain` prints: for the one connection of `config.explain`, or for each line of
// `config.batch`. Throws Error(kUsage) for a connection that cannot be.
std::string Explain(const capture::InitConfig& config, const capture::explain::Model& model,
                    netns::NetworkState& network);

}  // namespace sluice::init
