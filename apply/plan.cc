// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "apply/plan.h"

#include <iterator>

#include "capture/capture_rules.h"
#include "netns/network_steps.h"
#include "verify/probe_link.h"

namespace sluice::apply {

std::vector<std::unique_ptr<capture::Step>> PlanSteps(const capture::InitConfig& config,
                                                      PlanContext& context) {
  capture::RuleSet rules;
  if (!config.cleanup_only) rules = capture::BuildRules(config.capture);
  const auto routing =
      config.cleanup_only ? std::nullopt : capture::BuildPolicyRouting(config.capture);
  std::vector<std::unique_ptr<capture::Step>> steps;
  const auto add_address = [&] {
    const bool wanted = config.capture.ipv6 && !config.cleanup_only;
    steps.push_back(std::make_unique<netns::PassthroughAddressStep>(context.network, wanted));
  };
  const auto add_routing = [&] {
    for (const Family family : capture::kFamilies) {
      const bool captured = family == Family::kIpv4 || config.capture.ipv6;
      steps.push_back(std::make_unique<netns::PolicyRoutingStep>(
          context.network, family, captured ? routing : std::nullopt));
    }
  };
  // Rules that mark packets for a route come after it, and are removed before it: otherwise the
  // packets are lost. The address comes before routes: its error helps if IPv6 is off on lo.
  if (routing) {
    add_address();
    add_routing();
  }
  auto rule_steps = context.backend.Plan(
      rules, {.force = config.force_apply && !config.cleanup_only}, context.warnings);
  steps.insert(steps.end(), std::make_move_iterator(rule_steps.begin()),
               std::make_move_iterator(rule_steps.end()));
  if (context.other != nullptr) {
    // Two backends at once are harmless; with none, new connections would not be captured.
    auto others = context.other->Plan({}, {}, context.warnings);
    steps.insert(steps.end(), std::make_move_iterator(others.begin()),
                 std::make_move_iterator(others.end()));
  }
  if (!routing) add_address();
  if (config.cleanup_only) {
    steps.push_back(std::make_unique<verify::ProbeLinkCleanupStep>(context.network.socket()));
  }
  if (!routing) add_routing();
  return steps;
}

}  // namespace sluice::apply
