// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "nftables/program/compile.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sluice::nftables {
namespace {

using capture::Chain;
using capture::Match;
using capture::OwnerMatch;
using capture::PortMatch;
using capture::Rule;

constexpr PortRange kAnyPort{0, 65535};

bool IsAny(const std::optional<capture::Condition<Cidr>>& range) {
  return range && !range->negated && range->value.prefix_length() == 0;
}

bool IsNever(const std::optional<capture::Condition<std::string>>& name) {
  return name && name->negated && name->value == "+";
}

void AddPorts(const std::optional<capture::Condition<PortRange>>& ports, bool source,
              std::vector<Match>& out) {
  if (!ports || (ports->value == kAnyPort && !ports->negated)) return;
  PortMatch match;
  (source ? match.source : match.destination) = ports;
  out.emplace_back(match);
}

void Add(const Match& match, std::vector<Match>& out) {
  if (const auto* ports = std::get_if<PortMatch>(&match)) {
    AddPorts(ports->source, true, out);
    AddPorts(ports->destination, false, out);
  } else if (const auto* owner = std::get_if<OwnerMatch>(&match)) {
    if (owner->uid) out.emplace_back(OwnerMatch{.uid = owner->uid});
    if (owner->gid) out.emplace_back(OwnerMatch{.gid = owner->gid});
  } else {
    out.push_back(match);
  }
}

capture::Mark Within(capture::Mark mark) { return {mark.value & mark.mask, mark.mask}; }

void Simplify(capture::Target& target, const std::vector<Match>& matches) {
  if (auto* tproxy = std::get_if<capture::Tproxy>(&target)) tproxy->mark = Within(tproxy->mark);
  if (auto* set = std::get_if<capture::SetMark>(&target)) {
    set->mark = Within(set->mark);
    // Setting a mark that the connection is known to have is the same program as restoring it.
    const Match same = capture::ConnmarkMatch{capture::Is(set->mark)};
    if (std::ranges::find(matches, same) != matches.end()) {
      target = capture::RestoreConnmark{set->mark.mask};
    }
  }
}

// The rule in its one normal form; nothing for a rule that no packet can match.
std::optional<Rule> Simplified(Rule rule) {
  for (auto* const range : {&rule.source, &rule.destination}) {
    if (IsAny(*range)) range->reset();
  }
  if (rule.list) {
    if (rule.list->ranges.empty()) return {};
    rule.list->name.clear();
    rule.list->rest.clear();
    auto& side = rule.list->of == capture::RangeOf::kSource ? rule.source : rule.destination;
    if (rule.list->ranges.size() == 1 && !side) {
      side = capture::Is(rule.list->ranges.front());
      rule.list.reset();
      if (IsAny(side)) side.reset();
    } else {
      rule.list->ranges = Aggregate(std::move(rule.list->ranges));
    }
  }
  for (auto* const name : {&rule.in_interface, &rule.out_interface}) {
    if (IsNever(*name)) return {};
    if (*name && (*name)->value == "+") name->reset();
  }
  std::vector<Match> matches;
  for (const Match& match : rule.matches) Add(match, matches);
  rule.matches = std::move(matches);
  Simplify(rule.target, rule.matches);
  return rule;
}

bool IsNegatedOwner(const Match& match) {
  const auto* const owner = std::get_if<OwnerMatch>(&match);
  return owner != nullptr &&
         ((owner->uid && owner->uid->negated) || (owner->gid && owner->gid->negated));
}

OwnerMatch Positive(const Match& match) {
  OwnerMatch owner = std::get<OwnerMatch>(match);
  if (owner.uid) owner.uid->negated = false;
  if (owner.gid) owner.gid->negated = false;
  return owner;
}

// Writes the chains of one table.
class Chains {
 public:
  explicit Chains(const std::vector<Chain>& from) {
    for (const Chain& chain : from) names_.push_back(chain.name);
  }

  void Take(const Chain& chain) {
    std::size_t at = Begin(chain.name);
    for (const Rule& wanted : chain.rules) {
      const std::optional<Rule> rule = Simplified(wanted);
      if (!rule) continue;
      if (std::ranges::any_of(rule->matches, IsNegatedOwner)) {
        at = Unless(*rule, at);
        continue;
      }
      out_[at].rules.push_back(*rule);
      if (std::holds_alternative<capture::Tproxy>(rule->target)) {
        out_[at].rules.push_back(*rule);
        out_[at].rules.back().target = capture::Drop{};
      }
    }
  }

  std::vector<Chain> chains() && { return std::move(out_); }

 private:
  std::size_t Begin(std::string name) {
    out_.push_back({.name = std::move(name), .rules = {}});
    return out_.size() - 1;
  }

  // "ISTIO_OUTPUT_OTHERS", with a number if that name is taken.
  std::string NewName(const std::string& of, const std::string& ending) {
    std::string name = of + ending;
    for (int i = 2; std::ranges::find(names_, name) != names_.end(); ++i) {
      name = of + ending + "_" + std::to_string(i);
    }
    names_.push_back(name);
    return name;
  }

  // Adds a rule with negated owners. Returns the chain for the rules after it.
  std::size_t Unless(Rule rule, std::size_t at) {
    std::vector<OwnerMatch> owners;
    for (const Match& match : rule.matches) {
      if (IsNegatedOwner(match)) owners.push_back(Positive(match));
    }
    std::erase_if(rule.matches, IsNegatedOwner);
    const std::string here = out_[at].name;
    const capture::Target target = std::exchange(rule.target, capture::Return{});
    const auto escape = [&](std::size_t chain, const capture::Target& to) {
      for (const OwnerMatch& owner : owners) {
        out_[chain].rules.push_back({.matches = {owner}, .target = to});
      }
    };
    if (!std::holds_alternative<capture::Return>(target) &&
        !std::holds_alternative<capture::Goto>(target)) {
      // Packets of other owners reach the target in a chain of its own.
      const std::string name = NewName(here, "_UNLESS");
      rule.target = capture::Jump{name};
      out_[at].rules.push_back(rule);
      const std::size_t chain = Begin(name);
      escape(chain, capture::Return{});
      out_[chain].rules.push_back({.target = target});
      return at;
    }
    // The target leaves this chain, so other packets continue in a second one.
    const std::string rest = NewName(here, "_OTHERS");
    std::size_t chain = at;
    if (rule != Rule{}) {
      const std::string name = NewName(here, "_UNLESS");
      rule.target = capture::Goto{name};
      out_[at].rules.push_back(rule);
      out_[at].rules.push_back({.target = capture::Goto{rest}});
      chain = Begin(name);
    }
    escape(chain, capture::Goto{rest});
    out_[chain].rules.push_back({.target = target});
    return Begin(rest);
  }

  std::vector<std::string> names_;
  std::vector<Chain> out_;
};

}  // namespace

capture::TableRules Compile(const capture::TableRules& rules) {
  capture::TableRules out{.table = rules.table, .jumps = {}, .chains = {}};
  for (const capture::EntryJump& jump : rules.jumps) {
    if (auto rule = Simplified(jump.rule)) out.jumps.push_back({jump.hook, *std::move(rule)});
  }
  Chains chains(rules.chains);
  for (const Chain& chain : rules.chains) chains.Take(chain);
  out.chains = std::move(chains).chains();
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

}  // namespace sluice::nftables
