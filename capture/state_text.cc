// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/state_text.h"

#include <algorithm>

#include "capture/rule_text.h"

namespace sluice::capture {
namespace {

std::string CounterText(const Counters& counters) {
  return "[" + std::to_string(counters.packets) + ":" + std::to_string(counters.bytes) + "] ";
}

}  // namespace

std::string RuleLine(const InstalledRule& rule) {
  return rule.rule ? ToText(*rule.rule, Ranges::kAll) : "(a foreign rule: " + rule.target + ")";
}

std::vector<std::string> StateLines(const InstalledTable& state, Counting counting) {
  std::vector<std::string> lines;
  const auto add = [&](const std::string& chain, const InstalledRule& rule) {
    const std::string counters =
        counting == Counting::kWith ? CounterText(rule.counters) : std::string();
    lines.push_back(counters + "-A " + chain + " " + RuleLine(rule));
  };
  // Grouped by built-in chain, in the same order as RuleLines.
  std::vector<InstalledJump> jumps = state.jumps;
  const auto rank = [](const InstalledJump& jump) {
    return jump.chain == Name(Hook::kPrerouting) ? 0 : jump.chain == Name(Hook::kOutput) ? 1 : 2;
  };
  std::ranges::stable_sort(jumps, {}, rank);
  for (const InstalledJump& jump : jumps) add(jump.chain, jump.rule);
  for (const InstalledChain& chain : state.chains) {
    lines.push_back("-N " + chain.name);
    for (const InstalledRule& rule : chain.rules) add(chain.name, rule);
  }
  return lines;
}

std::vector<std::string> RuleLines(const TableRules& rules) {
  std::vector<std::string> lines;
  for (const Hook hook : {Hook::kPrerouting, Hook::kOutput}) {
    for (const EntryJump& jump : rules.jumps) {
      if (jump.hook != hook) continue;
      lines.push_back("-A " + std::string(Name(hook)) + " " + ToText(jump.rule, Ranges::kAll));
    }
  }
  std::vector<const Chain*> chains;
  for (const Chain& chain : rules.chains) chains.push_back(&chain);
  std::ranges::sort(chains, {}, [](const Chain* chain) { return chain->name; });
  for (const Chain* chain : chains) {
    lines.push_back("-N " + chain->name);
    for (const Rule& rule : chain->rules) {
      lines.push_back("-A " + chain->name + " " + ToText(rule, Ranges::kAll));
    }
  }
  return lines;
}

}  // namespace sluice::capture
