// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/installed.h"

#include <algorithm>

namespace sluice::capture {

const InstalledChain* FindChain(const InstalledTable& state, std::string_view name) {
  const auto found = std::ranges::lower_bound(state.chains, name, {}, &InstalledChain::name);
  return found == state.chains.end() || found->name != name ? nullptr : &*found;
}

bool Equal(const InstalledChain& installed, const Chain& wanted) {
  return std::ranges::equal(
      installed.rules, wanted.rules,
      [](const InstalledRule& have, const Rule& want) { return have.rule == std::optional(want); });
}

bool JumpsEqual(const std::vector<InstalledJump>& installed, const std::vector<EntryJump>& wanted) {
  // The order matters within one built-in chain, not between them.
  for (const Hook hook : {Hook::kPrerouting, Hook::kOutput}) {
    std::vector<std::optional<Rule>> have;
    std::vector<std::optional<Rule>> want;
    for (const InstalledJump& jump : installed) {
      if (jump.chain == Name(hook)) have.push_back(jump.rule.rule);
    }
    for (const EntryJump& jump : wanted) {
      if (jump.hook == hook) want.emplace_back(jump.rule);
    }
    if (have != want) return false;
  }
  return std::ranges::all_of(installed, [](const InstalledJump& jump) {
    return jump.chain == Name(Hook::kPrerouting) || jump.chain == Name(Hook::kOutput);
  });
}

bool Equal(const InstalledTable& installed, const TableRules& wanted) {
  return installed.chains.size() == wanted.chains.size() &&
         std::ranges::all_of(wanted.chains,
                             [&installed](const Chain& chain) {
                               const InstalledChain* old = FindChain(installed, chain.name);
                               return old != nullptr && Equal(*old, chain);
                             }) &&
         JumpsEqual(installed.jumps, wanted.jumps);
}

std::string Describe(Family family, Table table) {
  return std::string(Name(table)) + " table (" + std::string(Name(family)) + ")";
}

}  // namespace sluice::capture
