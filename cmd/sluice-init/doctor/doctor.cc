// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-init/doctor/doctor.h"

#include <utility>

#include "base/error.h"
#include "capture/capture_rules.h"
#include "capture/foreign.h"
#include "capture/lock.h"
#include "cmd/sluice-init/explain/others.h"
#include "doctor/judge.h"
#include "doctor/readers.h"
#include "netns/host.h"

namespace sluice::init {
namespace {

using doctor::Facts;
using doctor::KernelModules;

// What the options would install; empty if they capture nothing.
capture::RuleSet Planned(capture::InitConfig& config, netns::NetworkState& network) {
  const capture::CaptureConfig& capture = config.capture;
  const bool any = !capture.inbound_ports.empty() || capture.outbound_ranges.all ||
                   !capture.outbound_ranges.ranges.empty() || !capture.outbound_ports.empty() ||
                   capture.redirect_dns;
  if (!any) return {};
  try {
    netns::FillFromHost(config, network);
  } catch (const Error& error) {
    // The checks report it.
    config.warnings.push_back(error.what());
  }
  return capture::BuildRules(capture);
}

apply::NfTables NfTablesOf(const KernelModules& modules) {
  switch (modules.MayAskNfTables()) {
    case KernelModules::NfTables::kAsk:
      return apply::NfTables::kAsk;
    case KernelModules::NfTables::kNotLoaded:
      return apply::NfTables::kNotLoaded;
    case KernelModules::NfTables::kUnknown:
      break;
  }
  return apply::NfTables::kUnknown;
}

void ReadBackends(apply::Backends& backends, netns::NetworkState& network,
                  const KernelModules& modules, Facts& facts) {
  std::vector<apply::Sight> sights = backends.LookOnly(NfTablesOf(modules));
  for (apply::Sight& sight : sights) {
    doctor::BackendFacts found{.name = std::string(sight.backend->Name()),
                               .in_build = sight.in_build};
    found.modules = modules.Of(found.name);
    if (!sight.unseen.empty()) {
      found.ours = doctor::Known<capture::RuleSet>::Not(sight.unseen);
    } else if (!sight.in_use) {
      found.ours = capture::RuleSet();
    } else {
      try {
        found.ours = capture::ReadRules(*sight.backend);
        found.others = backends.OthersOf(*sight.backend);
        found.captures_of_others = backends.CapturesOfOthers(*sight.backend);
      } catch (const Error& error) {
        found.ours = doctor::Known<capture::RuleSet>::Not(error.what());
      }
    }
    facts.backends.push_back(std::move(found));
  }
  // Against the installed rules of either backend, or else the planned ones.
  capture::RuleSet wanted = facts.planned;
  std::string whose = facts.chosen;
  for (const doctor::BackendFacts& backend : facts.backends) {
    if (backend.ours && doctor::HasRules(*backend.ours)) {
      wanted = *backend.ours;
      whose = backend.name;
      break;
    }
  }
  for (std::size_t i = 0; i < sights.size(); ++i) {
    if (!facts.backends[i].ours || !sights[i].backend->SawForeignRules()) continue;
    // Of x_tables: those of nf_tables come below.
    const bool behind = whose == "nftables" && facts.backends[i].name != whose;
    for (const Family family : capture::kFamilies) {
      const capture::FamilyRules& rules = wanted.family(family);
      auto found = behind ? capture::FindObstructionsBefore(rules, *sights[i].backend)
                          : capture::FindObstructions(rules, *sights[i].backend);
      for (auto& one : found) facts.backends[i].obstructions.push_back(std::move(one));
    }
  }
  OthersInNfTables others(backends, network);
  for (std::size_t i = 0; i < sights.size(); ++i) {
    doctor::BackendFacts& seen = facts.backends[i];
    if (seen.name != "nftables" || !seen.ours || !sights[i].in_use || !others.Any()) continue;
    // Where neither is asked for, and nothing is installed, it is the one that others use.
    const bool xtables = whose == "iptables";
    const capture::Backend& backend = *sights[xtables ? 0 : i].backend;
    for (const Family family : capture::kFamilies) {
      if (wanted.family(family).empty()) continue;
      for (auto& one : others.DecideFirst(wanted.family(family), backend)) {
        seen.obstructions.push_back(std::move(one));
      }
    }
  }
}

}  // namespace

std::vector<doctor::Finding> Diagnose(capture::InitConfig& config, int network_fd,
                                      netns::NetworkState& network, apply::Backends& backends) {
  Facts facts;
  try {
    facts.capabilities = ReadCapabilities();
  } catch (const Error& error) {
    facts.capabilities = doctor::Known<Capabilities>::Not(error.what());
  }
  if (config.backend == capture::BackendChoice::kIptables) facts.chosen = "iptables";
  if (config.backend == capture::BackendChoice::kNftables) facts.chosen = "nftables";
  facts.planned = Planned(config, network);
  ReadBackends(backends, network, KernelModules(), facts);
  facts.lock_holders = capture::FindLockHolders(network_fd);
  facts.conntrack = doctor::ReadConntrack();
  doctor::ReadSocketsAndProcesses(facts);
  doctor::ReadNetwork(network, facts);
  doctor::ReadResolvers(config.network_namespace, facts);
  return doctor::Judge(facts);
}

}  // namespace sluice::init
