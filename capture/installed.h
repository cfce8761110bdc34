// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "capture/rule.h"

// The Sluice rules that the kernel holds, as a backend reads them.
namespace sluice::capture {

struct Counters {
  std::uint64_t packets = 0;
  std::uint64_t bytes = 0;
};

// A rule as the kernel holds it.
struct InstalledRule {
  // Empty for a rule that Sluice cannot have written.
  std::optional<Rule> rule;
  // The chain, verdict or extension of its target.
  std::string target;
  Counters counters;
  // The kernel's own bytes, to restore exactly the same rule.
  std::vector<std::byte> entry;
};

struct InstalledChain {
  std::string name;
  std::vector<InstalledRule> rules;
};

// A rule of a built-in chain that jumps to a Sluice chain.
struct InstalledJump {
  std::string chain;          // the built-in chain
  unsigned int position = 0;  // its index there, from 0
  InstalledRule rule;
};

// What Sluice understands of a rule that is not its own.
struct ForeignRule {
  // Its conditions as far as they are known; the target is Accept where it is not known.
  Rule rule;
  bool conditions_known = true;
  bool target_known = true;
  bool not_tracked = false;      // -j CT --notrack
  bool of_our_protocols = true;  // it can match TCP or UDP
  std::string target = {};       // the chain, verdict or extension; empty: counter only
  std::string text = {};         // as iptables -S has it, "..." for unknown parts
  Counters counters = {};
};

struct ForeignChain {
  std::string name;
  std::vector<ForeignRule> rules;
};

// One of PREROUTING or OUTPUT.
struct ForeignEntry {
  std::string chain;
  unsigned int position = 0;  // its index there, from 0
  ForeignRule rule;
};

// The Sluice rules in a table, and the foreign rules that lead there or are in the same chains.
struct InstalledTable {
  // False when the table does not exist in this namespace. Reading does not create it.
  bool exists = false;
  std::vector<InstalledChain> chains;  // sorted by name
  std::vector<InstalledJump> jumps;
  // In PREROUTING and OUTPUT, and in the foreign chains that they lead to.
  std::vector<ForeignEntry> foreign = {};
  std::vector<ForeignChain> foreign_chains = {};
  // "chain FOO, rule 3, jumps to ISTIO_REDIRECT": such rules in foreign chains.
  std::vector<std::string> foreign_references;

  bool empty() const { return chains.empty() && jumps.empty(); }
};

// The chain of that name; nullptr when there is none.
const InstalledChain* FindChain(const InstalledTable& table, std::string_view name);

// Whether the chain holds these rules, in this order.
bool Equal(const InstalledChain& installed, const Chain& wanted);

// Whether the built-in chains jump to Sluice's as wanted. The order matters within a chain.
bool JumpsEqual(const std::vector<InstalledJump>& installed, const std::vector<EntryJump>& wanted);

// Whether the installed rules are `wanted`: the same chains, with equal rules in equal order, and
// the same jumps from the same built-in chains. Ignores the order of chains and the counters.
bool Equal(const InstalledTable& installed, const TableRules& wanted);

// "nat table (IPv4)".
std::string Describe(Family family, Table table);

}  // namespace sluice::capture
