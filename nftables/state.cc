// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "nftables/state.h"

#include <linux/netfilter.h>

#include <algorithm>

#include "capture/explain/cause.h"
#include "nftables/comment.h"
#include "nftables/program/rule_program.h"

namespace sluice::nftables {
namespace {

namespace ex = capture::explain;

using capture::Hook;
using capture::Table;

std::optional<Hook> HookOf(std::string_view chain) {
  for (const Hook hook : {Hook::kPrerouting, Hook::kOutput}) {
    if (chain == Name(hook)) return hook;
  }
  return {};
}

// The text of a rule that is not one of Sluice's.
std::string TargetOf(const Program& program) {
  if (program.empty()) return "nothing";
  const auto* const verdict = std::get_if<ImmediateVerdict>(&program.back());
  if (verdict == nullptr) {
    const auto* const unknown = std::get_if<Unknown>(&program.back());
    return unknown != nullptr ? unknown->name : "unknown";
  }
  switch (verdict->code) {
    case VerdictCode::kDrop:
      return "DROP";
    case VerdictCode::kAccept:
      return "ACCEPT";
    case VerdictCode::kReturn:
      return "RETURN";
    case VerdictCode::kJump:
    case VerdictCode::kGoto:
      return verdict->chain;
  }
  return "unknown";
}

capture::InstalledRule ToInstalled(const RuleState& rule, Family family, Table table) {
  capture::InstalledRule out{
      .rule = {}, .target = TargetOf(rule.program), .counters = rule.counters, .entry = {}};
  if (rule.known()) out.rule = ToRule(rule.program, family, table);
  return out;
}

}  // namespace

Base BaseOf(Table table, Hook hook) {
  const std::uint32_t number = hook == Hook::kPrerouting ? NF_INET_PRE_ROUTING : NF_INET_LOCAL_OUT;
  switch (table) {
    case Table::kRaw:
      return {.type = "filter", .hook = number, .priority = -300};
    case Table::kMangle:
      return {.type = hook == Hook::kOutput ? "route" : "filter", .hook = number, .priority = -150};
    case Table::kNat:
      return {.type = "nat", .hook = number, .priority = -99};
  }
  return {};
}

bool Same(const ChainState& a, const ChainState& b) {
  return a.name == b.name && a.base == b.base &&
         std::ranges::equal(a.rules, b.rules, [](const RuleState& x, const RuleState& y) {
           return x.program == y.program && x.expressions == y.expressions;
         });
}

const ChainState* FindChain(const FamilyState& state, std::string_view name) {
  const auto found = std::ranges::find(state.chains, name, &ChainState::name);
  return found == state.chains.end() ? nullptr : &*found;
}

bool Same(const FamilyState& a, const FamilyState& b) {
  return a.exists == b.exists && a.chains.size() == b.chains.size() &&
         a.unused_sets == b.unused_sets &&
         std::ranges::all_of(a.chains, [&b](const ChainState& chain) {
           const ChainState* const other = FindChain(b, chain.name);
           return other != nullptr && Same(chain, *other);
         });
}

// By the rules alone, as `explain` does with installed rules.
Comments CommentsOf(const capture::FamilyRules& rules) {
  ex::ModelTable table{
      .backend = "nftables", .family = rules.family, .name = std::string(kTableName)};
  for (const capture::TableRules& part : rules.tables) {
    for (const capture::Chain& chain : part.chains) {
      ex::ModelChain to{.name = ChainName(part.table, chain.name), .ours = true};
      for (const capture::Rule& rule : chain.rules) to.rules.emplace_back().known = rule;
      table.chains.push_back(std::move(to));
    }
  }
  // Chains are read back in this order.
  std::ranges::stable_sort(table.chains, {}, &ex::ModelChain::name);
  ex::NameCauses(table);
  Comments out;
  for (const ex::ModelChain& chain : table.chains) {
    std::vector<std::string>& to = out[chain.name];
    for (const ex::ModelRule& rule : chain.rules) {
      to.push_back(ToComment(rule.flag.empty() ? rule.why : rule.flag));
    }
  }
  return out;
}

void AddComments(const capture::FamilyRules& rules, FamilyState& state) {
  Comments comments = CommentsOf(rules);
  for (ChainState& chain : state.chains) {
    const auto found = comments.find(chain.name);
    if (chain.base || found == comments.end()) continue;
    for (std::size_t i = 0; i < chain.rules.size(); ++i) {
      chain.rules[i].comment = std::move(found->second[i]);
    }
  }
}

FamilyState ToState(const capture::FamilyRules& rules) {
  FamilyState out{.exists = !rules.empty(), .chains = {}};
  for (const capture::TableRules& table : rules.tables) {
    const auto add = [&](ChainState& chain, const capture::Rule& rule) {
      chain.rules.push_back({.program = ToProgram(rule, rules.family, table.table)});
    };
    for (const Hook hook : {Hook::kPrerouting, Hook::kOutput}) {
      ChainState base{.name = ChainName(table.table, Name(hook)),
                      .base = BaseOf(table.table, hook)};
      for (const capture::EntryJump& jump : table.jumps) {
        if (jump.hook == hook) add(base, jump.rule);
      }
      if (!base.rules.empty()) out.chains.push_back(std::move(base));
    }
    for (const capture::Chain& chain : table.chains) {
      ChainState state{.name = ChainName(table.table, chain.name)};
      for (const capture::Rule& rule : chain.rules) add(state, rule);
      out.chains.push_back(std::move(state));
    }
  }
  return out;
}

capture::InstalledTable ToInstalled(const FamilyState& state, Family family, Table table) {
  capture::InstalledTable out{
      .exists = state.exists, .chains = {}, .jumps = {}, .foreign_references = {}};
  for (const ChainState& chain : state.chains) {
    const auto parsed = ParseChainName(chain.name);
    // A chain with another name belongs to no table; it is shown with the last one.
    if (parsed ? parsed->first != table : table != Table::kNat) continue;
    const std::optional<Hook> hook = parsed ? HookOf(parsed->second) : std::nullopt;
    if (hook && chain.base == BaseOf(table, *hook) && !chain.rules.empty()) {
      for (std::size_t i = 0; i < chain.rules.size(); ++i) {
        out.jumps.push_back({std::string(Name(*hook)), static_cast<unsigned int>(i),
                             ToInstalled(chain.rules[i], family, table)});
      }
      continue;
    }
    // A base chain at another hook or priority is not Sluice's, whatever its rules are.
    capture::InstalledChain as{.name = parsed ? parsed->second : chain.name, .rules = {}};
    if (chain.base)
      as.name += " (" + chain.base->type + " " + std::to_string(chain.base->hook) + " " +
                 std::to_string(chain.base->priority) + ")";
    for (const RuleState& rule : chain.rules) {
      as.rules.push_back(ToInstalled(rule, family, table));
    }
    out.chains.push_back(std::move(as));
  }
  std::ranges::sort(out.chains, {}, &capture::InstalledChain::name);
  return out;
}

}  // namespace sluice::nftables
