// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/explain/order.h"

#include <algorithm>
#include <cstddef>
#include <variant>
#include <vector>

namespace sluice::capture::explain {
namespace {

// The effects of chains that make their order matter.
struct Deeds {
  bool writes = false;  // changes what later rules match
  bool refuses = false;
  bool drops = false;
};

void Note(const Action& action, Deeds& deeds) {
  if (std::holds_alternative<Drop>(action)) deeds.drops = true;
  if (std::holds_alternative<Reject>(action)) deeds.refuses = true;
  const bool harmless =
      std::holds_alternative<GoOn>(action) || std::holds_alternative<Accept>(action) ||
      std::holds_alternative<Drop>(action) || std::holds_alternative<Reject>(action) ||
      std::holds_alternative<Return>(action) || std::holds_alternative<Jump>(action) ||
      std::holds_alternative<Goto>(action);
  if (!harmless) deeds.writes = true;
}

void Collect(const ModelTable& table, std::size_t at, std::vector<bool>& seen, Deeds& deeds) {
  if (at >= table.chains.size() || seen[at]) return;
  seen[at] = true;
  for (const ModelRule& rule : table.chains[at].rules) {
    Note(rule.action, deeds);
    Collect(table, rule.leads_to, seen, deeds);
    for (const Op& op : rule.program) {
      if (const auto* act = std::get_if<Act>(&op)) {
        Note(act->action, deeds);
        Collect(table, act->leads_to, seen, deeds);
      } else if (const auto* lookup = std::get_if<Lookup>(&op)) {
        if (lookup->set >= table.sets.size()) continue;
        const SetModel& set = table.sets[lookup->set];
        const auto item = [&](const SetItem& of) {
          if (!of.verdict) return;
          Note(of.verdict->action, deeds);
          Collect(table, of.verdict->leads_to, seen, deeds);
        };
        std::ranges::for_each(set.items, item);
        if (set.otherwise) item(*set.otherwise);
      } else if (std::holds_alternative<StoreMark>(op) || std::holds_alternative<NatTo>(op) ||
                 std::holds_alternative<TproxyTo>(op)) {
        deeds.writes = true;
      }
    }
  }
}

Deeds DeedsOf(const BaseChain& base) {
  const auto& [table, chain] = base;
  Deeds deeds;
  std::vector<bool> seen(table.chains.size());
  Collect(table, static_cast<std::size_t>(&chain - table.chains.data()), seen, deeds);
  deeds.drops = deeds.drops || (chain.base && chain.base->policy_drops);
  return deeds;
}

}  // namespace

bool Commute(const BaseChain& first, const BaseChain& second) {
  const Deeds a = DeedsOf(first);
  const Deeds b = DeedsOf(second);
  const auto inert = [](const Deeds& d) { return !d.writes && !d.refuses && !d.drops; };
  if (inert(a) || inert(b)) return true;
  return !a.writes && !b.writes && !a.refuses && !b.refuses;
}

}  // namespace sluice::capture::explain
