// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "capture/installed.h"
#include "capture/rule.h"
#include "nftables/program/program.h"

// The tables "sluice" of both families as values, wanted or read from the kernel. Pure.
namespace sluice::nftables {

struct RuleState {
  Program program;
  capture::Counters counters = {};
  // The kernel's own attributes, if the program has an unknown expression.
  std::vector<std::uint8_t> expressions = {};
  // Of a rule that is to be written: where it comes from (AddComments).
  std::string comment = {};
  // Of one that was read: what the kernel keeps for nft(8), such as a comment.
  std::vector<std::uint8_t> userdata = {};

  bool known() const { return expressions.empty(); }
};

// A base chain's place in the path of packets.
struct Base {
  std::string type;        // "filter", "nat", "route"
  std::uint32_t hook = 0;  // NF_INET_PRE_ROUTING, ...
  std::int32_t priority = 0;
  std::uint32_t policy = 1;  // NF_ACCEPT
  friend bool operator==(const Base&, const Base&) = default;
};

// Raw runs before conntrack, mangle after it, nat one step after the nat of x_tables and Docker: of
// two chains with equal priority the later one runs first, no matter whose it is, but a foreign
// DNAT must decide before Sluice as it does with x_tables. In OUTPUT a mark reroutes only in chains
// of the type "route".
Base BaseOf(capture::Table table, capture::Hook hook);

struct ChainState {
  std::string name;  // "nat/ISTIO_OUTPUT", "nat/OUTPUT"
  std::optional<Base> base = {};
  std::vector<RuleState> rules = {};
  std::vector<std::string> sets = {};  // named sets that its rules use
};

// Whether they are equal, apart from counters, comments and the names of sets. A comment has no
// effect on packets: a version of Sluice with other comments, or none, is no reason to write, which
// would reset the counters.
bool Same(const ChainState& a, const ChainState& b);

// The contents of one family's table.
struct FamilyState {
  bool exists = false;
  std::vector<ChainState> chains = {};
  // Named sets that no rule uses: left by a run that was killed (Kernel::Write).
  std::vector<std::string> unused_sets = {};
};
bool Same(const FamilyState& a, const FamilyState& b);

const ChainState* FindChain(const FamilyState& state, std::string_view name);

// A foreign table.
struct OtherTable {
  std::uint8_t family = 0;  // NFPROTO_IPV4, ...
  std::string name;
};

struct State {
  // Of the namespace's rule set: every change by anybody increments it.
  std::uint32_t generation = 0;
  FamilyState v4;
  FamilyState v6;
  std::vector<OtherTable> others = {};

  const FamilyState& family(Family family) const { return family == Family::kIpv4 ? v4 : v6; }
  FamilyState& family(Family family) { return family == Family::kIpv4 ? v4 : v6; }
  bool any() const { return v4.exists || v6.exists; }
};

// What `rules`, compiled, are in the kernel, without comments; no table where they are empty.
FamilyState ToState(const capture::FamilyRules& rules);

// The comments of rules, by chain ("nat/ISTIO_OUTPUT") and in order: the flag that a rule comes
// from, or, where every configuration has it, why (capture/explain/cause.h). Base chains have none.
using Comments = std::map<std::string, std::vector<std::string>, std::less<>>;
Comments CommentsOf(const capture::FamilyRules& rules);

// Puts the comments of `rules` into `state`, which was made of them.
void AddComments(const capture::FamilyRules& rules, FamilyState& state);

// What of `state` is of `table`, as rules. What Sluice cannot have written is there as such.
capture::InstalledTable ToInstalled(const FamilyState& state, Family family, capture::Table table);

}  // namespace sluice::nftables
