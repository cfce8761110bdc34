// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "iptables/compile.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <utility>

#include "iptables/range_chains.h"

namespace sluice::iptables {
namespace {

using capture::Chain;
using capture::RangeList;
using capture::Rule;

void AppendEach(const Rule& rule, const RangeList& list, Chain& chain) {
  Rule one = rule;
  one.list.reset();
  auto& side = list.of == capture::RangeOf::kSource ? one.source : one.destination;
  if (side) throw std::invalid_argument("a rule with a range and a list of them");
  for (const Cidr& range : list.ranges) {
    side = capture::Is(range);
    chain.rules.push_back(one);
  }
}

bool HasNoOtherCondition(const Rule& rule) {
  return rule == Rule{.list = rule.list, .target = rule.target};
}

// Appends the compiled form of `chain` to `out`.
void CompileChain(const Chain& chain, std::vector<Chain>& out) {
  out.push_back({.name = chain.name, .rules = {}});
  for (auto rule = chain.rules.begin(); rule != chain.rules.end(); ++rule) {
    const std::optional<RangeList>& list = rule->list;
    if (!list) {
      out.back().rules.push_back(*rule);
      continue;
    }
    if (list->ranges.size() <= kLinearRanges) {
      AppendEach(*rule, *list, out.back());
      continue;
    }
    const bool last = std::next(rule) == chain.rules.end();
    if (!HasNoOtherCondition(*rule) || (list->rest.empty() && !last)) {
      throw std::invalid_argument("the list " + list->name + " cannot become a tree of chains");
    }
    std::vector<Chain> tree;
    AppendRanges(list->ranges, list->of, {.inside = rule->target, .outside = list->rest},
                 list->name, out.back(), tree);
    std::ranges::move(tree, std::back_inserter(out));
    if (!list->rest.empty()) out.push_back({.name = list->rest, .rules = {}});
  }
}

}  // namespace

Rule Canonical(Rule rule) {
  for (auto* const range : {&rule.source, &rule.destination}) {
    if (*range && (*range)->value.prefix_length() == 0 && !(*range)->negated) range->reset();
  }
  constexpr PortRange kAny{0, 65535};
  for (capture::Match& match : rule.matches) {
    auto* const ports = std::get_if<capture::PortMatch>(&match);
    if (ports == nullptr) continue;
    for (auto* const range : {&ports->source, &ports->destination}) {
      if (*range && (*range)->value == kAny && !(*range)->negated) range->reset();
    }
  }
  return rule;
}

capture::TableRules Compile(const capture::TableRules& rules) {
  capture::TableRules out{.table = rules.table, .jumps = rules.jumps, .chains = {}};
  for (const Chain& chain : rules.chains) CompileChain(chain, out.chains);
  for (capture::EntryJump& jump : out.jumps) jump.rule = Canonical(std::move(jump.rule));
  for (Chain& chain : out.chains) {
    for (Rule& rule : chain.rules) rule = Canonical(std::move(rule));
  }
  return out;
}

capture::FamilyRules Compile(const capture::FamilyRules& rules) {
  capture::FamilyRules out{.family = rules.family, .tables = {}};
  for (const capture::TableRules& table : rules.tables) out.tables.push_back(Compile(table));
  return out;
}

capture::RuleSet Compile(const capture::RuleSet& rules) {
  return {.v4 = Compile(rules.v4), .v6 = Compile(rules.v6)};
}

}  // namespace sluice::iptables
