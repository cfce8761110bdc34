// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-init/show.h"

#include <algorithm>

#include <boost/json.hpp>

#include "base/text/pretty_json.h"
#include "capture/foreign.h"
#include "capture/state_text.h"
#include "netns/network_steps.h"

namespace sluice::init {
namespace {

namespace json = boost::json;
using apply::Backends;
using capture::Table;

// The clean-up steps that are not tables: what they have is what Sluice has installed besides
// rules.
std::vector<std::unique_ptr<capture::Step>> NetworkSteps(netns::NetworkState& network) {
  std::vector<std::unique_ptr<capture::Step>> steps;
  for (const Family family : capture::kFamilies) {
    steps.push_back(std::make_unique<netns::PolicyRoutingStep>(network, family, std::nullopt));
  }
  steps.push_back(std::make_unique<netns::PassthroughAddressStep>(network, false));
  return steps;
}

json::object RuleJson(const capture::InstalledRule& rule) {
  return {{"rule", capture::RuleLine(rule)},
          {"packets", rule.counters.packets},
          {"bytes", rule.counters.bytes}};
}

json::object TableJson(Family family, capture::Table table, const capture::InstalledTable& state,
                       std::string_view backend) {
  json::array jumps;
  for (const capture::InstalledJump& jump : state.jumps) {
    json::object entry = RuleJson(jump.rule);
    entry["chain"] = jump.chain;
    entry["position"] = jump.position + 1;
    jumps.push_back(std::move(entry));
  }
  json::array chains;
  for (const capture::InstalledChain& chain : state.chains) {
    json::array rules;
    for (const capture::InstalledRule& rule : chain.rules) rules.push_back(RuleJson(rule));
    chains.push_back({{"name", chain.name}, {"rules", std::move(rules)}});
  }
  return {{"backend", backend},
          {"family", Name(family)},
          {"table", capture::Name(table)},
          {"jumps", std::move(jumps)},
          {"chains", std::move(chains)}};
}

// Only rules with packets, if asked for.
capture::InstalledTable Selected(capture::InstalledTable state, bool only_nonzero) {
  if (!only_nonzero) return state;
  const auto is_zero = [](const capture::InstalledRule& rule) {
    return rule.counters.packets == 0;
  };
  for (capture::InstalledChain& chain : state.chains) std::erase_if(chain.rules, is_zero);
  std::erase_if(state.chains, [](const auto& chain) { return chain.rules.empty(); });
  std::erase_if(state.jumps, [&](const auto& jump) { return is_zero(jump.rule); });
  return state;
}

// The backends that can be read, the chosen one first.
std::vector<capture::Backend*> All(Backends& backends) {
  std::vector<capture::Backend*> out = {&backends.chosen()};
  if (backends.other() != nullptr) out.push_back(backends.other());
  return out;
}

std::vector<capture::Obstruction> Obstructions(capture::Backend& backend) {
  std::vector<capture::Obstruction> out;
  if (!capture::MayObstruct(backend)) return out;
  for (const Family family : capture::kFamilies) {
    for (auto& found : capture::FindObstructions(family, backend)) out.push_back(std::move(found));
  }
  return out;
}

json::object ForeignJson(const capture::Obstruction& found) {
  json::object out{
      {"family", Name(found.family)}, {"backend", found.backend}, {"table", found.table},
      {"chain", found.chain},         {"position", nullptr},      {"handle", nullptr},
      {"rule", found.text},           {"packets", nullptr},       {"bytes", nullptr},
      {"meaning", found.meaning},     {"certain", found.certain}};
  if (!found.policy) out["position"] = found.index + 1;
  if (found.handle != 0) out["handle"] = found.handle;
  if (found.counted) {
    out["packets"] = found.counters.packets;
    out["bytes"] = found.counters.bytes;
  }
  return out;
}

}  // namespace

std::string ShowText(const capture::InitConfig& config, netns::NetworkState& network,
                     Backends& backends) {
  std::string out;
  bool has_tables = false;
  const auto section = [&out](const std::string& name, const std::vector<std::string>& lines) {
    if (lines.empty()) return;
    out += "# " + name + "\n";
    for (const std::string& line : lines) out += line + "\n";
  };
  for (capture::Backend* const backend : All(backends)) {
    const bool chosen = backend == &backends.chosen();
    std::string rules;
    std::swap(out, rules);
    for (const Family family : capture::kFamilies) {
      for (const capture::Table table : capture::kTables) {
        const capture::InstalledTable state = backend->Read(family, table);
        has_tables |= !state.empty();
        section(
            capture::Describe(family, table),
            capture::StateLines(Selected(state, config.only_nonzero), capture::Counting::kWith));
      }
    }
    std::swap(out, rules);
    if (rules.empty()) continue;
    out += "# backend " + std::string(backend->Name()) + ": " +
           (chosen ? backends.why() : "left from another run") + "\n" + rules;
  }
  if (!config.only_nonzero) {
    for (const auto& step : NetworkSteps(network)) section(step->Name(), step->Have());
  } else if (out.empty() && has_tables) {
    out = "# no packet has met a Sluice rule\n";
  }
  std::vector<std::string> others;
  for (const capture::Obstruction& found : Obstructions(backends.chosen())) {
    others.push_back(found.ToString());
  }
  section("foreign rules that decide first", others);
  section("foreign rules that capture as well (nf_tables)", backends.ForeignCaptures());
  if (out.empty()) out = "# no Sluice rules are installed\n";
  if (!backends.unseen().empty()) out += "# " + backends.unseen() + "\n";
  return out;
}

std::string ShowJson(const capture::InitConfig& config, netns::NetworkState& network,
                     Backends& backends) {
  json::array tables;
  for (capture::Backend* const backend : All(backends)) {
    for (const Family family : capture::kFamilies) {
      for (const capture::Table table : capture::kTables) {
        const auto state = Selected(backend->Read(family, table), config.only_nonzero);
        if (!state.empty()) tables.push_back(TableJson(family, table, state, backend->Name()));
      }
    }
  }
  json::object beside;
  for (const auto& step : NetworkSteps(network)) {
    if (const auto lines = step->Have(); !lines.empty()) {
      beside[step->Name()] = json::value_from(lines);
    }
  }
  json::array others;
  for (const capture::Obstruction& found : Obstructions(backends.chosen())) {
    others.push_back(ForeignJson(found));
  }
  json::array unseen;
  if (!backends.unseen().empty()) unseen.emplace_back(backends.unseen());
  return PrettyJson(
      json::object{{"backend", {{"name", backends.chosen().Name()}, {"why", backends.why()}}},
                   {"tables", std::move(tables)},
                   {"network", std::move(beside)},
                   {"foreign", std::move(others)},
                   {"foreign_captures", json::value_from(backends.ForeignCaptures())},
                   {"unseen", std::move(unseen)}});
}

}  // namespace sluice::init
