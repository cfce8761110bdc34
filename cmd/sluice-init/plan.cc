#include "cmd/sluice-init/plan.h"

#include <iterator>

#include "capture/capture_rules.h"
#include "netns/network_steps.h"
#include "verify/probe_link.h"

namespace sluice::init {

std::vector<std::unique_ptr<capture::Step>> PlanSteps(const capture::InitConfig& config,
                                                      PlanContext& context) {
  capture::RuleSet rules;
  if (!config.cleanup_only) rules = capture::BuildRules(config.capture);
  auto steps = context.backend.Plan(rules, {.force = config.force_apply && !config.cleanup_only},
                                    context.warnings);
  // Before the routes: where IPv6 is disabled on lo, this one says what helps.
  const bool address = config.capture.ipv6 && !config.cleanup_only;
  steps.push_back(std::make_unique<netns::PassthroughAddressStep>(context.network, address));
  if (config.cleanup_only) {
    steps.push_back(std::make_unique<verify::ProbeLinkCleanupStep>(context.network.socket()));
  }
  const auto routing =
      config.cleanup_only ? std::nullopt : capture::BuildPolicyRouting(config.capture);
  for (const Family family : capture::kFamilies) {
    const bool captured = family == Family::kIpv4 || config.capture.ipv6;
    steps.push_back(std::make_unique<netns::PolicyRoutingStep>(context.network, family,
                                                               captured ? routing : std::nullopt));
  }
  return steps;
}

}  // namespace sluice::init
