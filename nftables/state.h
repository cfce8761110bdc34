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
#include "nftables/program.h"

// The tables "sluice" of both families as values, whether wanted or in the kernel. Pure.
namespace sluice::nftables {

struct RuleState {
  Program program;
  capture::Counters counters = {};
  // The kernel's own attributes, where the program has an expression that is unknown.
  std::vector<std::uint8_t> expressions = {};
  // Of a rule that is to be written: where it comes from (AddComments).
  std::string comment = {};
  // Of one that was read: what the kernel keeps for nft(8), such as a comment.
  std::vector<std::uint8_t> userdata = {};

  bool known() const { return expressions.empty(); }
};

// Where a base chain stands in the way of packets.
struct Base {
  std::string type;        // "filter", "nat", "route"
  std::uint32_t hook = 0;  // NF_INET_PRE_ROUTING, ...
  std::int32_t priority = 0;
  std::uint32_t policy = 1;  // NF_ACCEPT
  friend bool operator==(const Base&, const Base&) = default;
};

// Raw before conntrack, mangle after it, nat one behind the place of x_tables' and Docker's nat:
// of two chains in one place the later one is asked first, whoever made it, and a foreign DNAT is
// to decide before us as it does with x_tables. In OUTPUT a mark reroutes in chains of the type
// "route" only.
Base BaseOf(capture::Table table, capture::Hook hook);

struct ChainState {
  std::string name;  // "nat/ISTIO_OUTPUT", "nat/OUTPUT"
  std::optional<Base> base = {};
  std::vector<RuleState> rules = {};
  std::vector<std::string> sets = {};  // those with a name that its rules look into
};

// Whether they are the same except for counters, comments and the names of sets. A comment decides
// about no packet: a Sluice that words it otherwise, or had none, is no reason to write, which
// would cost the counters.
bool Same(const ChainState& a, const ChainState& b);

// What is in the table of one family.
struct FamilyState {
  bool exists = false;
  std::vector<ChainState> chains = {};
  // Sets with a name that no rule looks into: what a run left that was killed (Kernel::Write).
  std::vector<std::string> unused_sets = {};
};
bool Same(const FamilyState& a, const FamilyState& b);

const ChainState* FindChain(const FamilyState& state, std::string_view name);

// A table of somebody else.
struct OtherTable {
  std::uint8_t family = 0;  // NFPROTO_IPV4, ...
  std::string name;
};

struct State {
  // Of the rule set of the namespace: the kernel counts each change by anybody.
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
