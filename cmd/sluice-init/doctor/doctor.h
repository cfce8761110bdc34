// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <vector>

#include "apply/backends.h"
#include "capture/settings/init_config.h"
#include "doctor/finding.h"
#include "netns/network_state.h"

namespace sluice::init {

// Finds out what hinders capture in the calling thread's namespace; `network_fd` is a descriptor of
// it. Changes nothing, and reports what it may not read. `backends` need not have chosen. Completes
// `config`, if that captures something, and adds to its warnings.
std::vector<doctor::Finding> Diagnose(capture::InitConfig& config, int network_fd,
                                      netns::NetworkState& network, apply::Backends& backends);

}  // namespace sluice::init
