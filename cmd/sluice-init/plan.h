#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cmd/sluice-init/init_config.h"
#include "iptables/transaction.h"
#include "netns/route_socket.h"

namespace sluice::init {

// The steps that bring the network namespace to what `config` says, or, for cleanup_only, to where
// nothing of ours is left: rules by family and table, then what stands beside them. `warnings`
// takes what a step had to leave out; it and `socket` must outlive the steps.
std::vector<std::unique_ptr<iptables::Step>> PlanSteps(const InitConfig& config,
                                                       netns::RouteSocket& socket,
                                                       std::vector<std::string>& warnings);

}  // namespace sluice::init
