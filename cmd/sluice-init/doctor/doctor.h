// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <vector>

#include "apply/backends.h"
#include "capture/settings/init_config.h"
#include "doctor/finding.h"
#include "netns/network_state.h"

namespace sluice::init {

// What stands against capture in the namespace of the calling thread, of which `network_fd` is a
// descriptor. Changes nothing; what it may not look at is said. `backends` need not have chosen.
// Completes `config`, where that captures something, and adds to its warnings.
std::vector<doctor::Finding> Diagnose(capture::InitConfig& config, int network_fd,
                                      netns::NetworkState& network, apply::Backends& backends);

}  // namespace sluice::init
