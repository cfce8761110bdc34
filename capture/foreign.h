// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "capture/backend.h"
#include "capture/installed.h"
#include "capture/rule.h"

// Rules that are not Sluice's and decide about packets that Sluice's would capture: of x_tables
// those that see a packet first, of nf_tables all that explain/deciders.h finds. They are never
// changed, only reported: packets that they decide about are not captured, whatever the
// configuration says.
//
// eBPF programs and rules of the node are not seen.
namespace sluice::capture {

struct Obstruction {
  Family family = Family::kIpv4;
  std::string backend = "iptables";  // or "nftables"
  std::string table = {};            // "nat", "inet firewalld"
  std::string chain = {};            // of x_tables the built-in one
  std::string hook = {};             // "PREROUTING": where packets meet it
  std::size_t index = 0;             // from 0
  std::uint64_t handle = 0;          // of nf_tables: the rule's number in its table
  bool policy = false;               // the end of a base chain that drops: no rule
  // As iptables -S has it, or close to nft's words; "..." for parts that Sluice does not know.
  std::string text = {};
  std::string meaning = {};
  Counters counters = {};
  bool counted = true;  // false: a rule of nf_tables without a counter
  bool behind = false;  // it is asked after Sluice's rules
  // Whether it decides about every packet that matches; otherwise that depends on something that
  // Sluice does not know.
  bool certain = false;

  // "nat OUTPUT rule 1", "nftables inet firewalld input rule 3 (handle 12)"
  std::string Place() const;
  // "-p tcp -j ACCEPT (3 packets, 180 bytes): what matches does not come to Sluice's rules ..."
  std::string Description() const;
  // "IPv4 nat OUTPUT rule 1, not Sluice's, comes first: " and the description.
  std::string ToString() const;
};

// The foreign rules in nf_tables, for a Backend that need not know of them.
class OtherRules {
 public:
  virtual ~OtherRules() = default;
  // Whether there are any.
  virtual bool Any() = 0;
  // Those that decide about what `wanted`, in the form of `backend`, captures. Throws Error.
  virtual std::vector<Obstruction> DecideFirst(const FamilyRules& wanted,
                                               const Backend& backend) = 0;
};

// Where our rules are.
enum class Ours {
  kAmong,  // in the same tables, behind a jump of ours
  kBehind  // in chains of their own, which are asked next. What ends a table decides nothing then.
};

// Of what `installed` holds, the tables of one family in the order of kTables: the rules of a
// built-in chain that stand before the jump of `wanted` there, or in a table that comes before it,
// and that decide about a packet which `wanted` captures. Where `wanted` has a jump and `installed`
// has none yet, all rules stand before it. Pure.
std::vector<Obstruction> FindObstructions(const std::vector<InstalledTable>& installed,
                                          const FamilyRules& wanted, Ours ours = Ours::kAmong);

// The same of what is installed now; `wanted` as an argument, or the Sluice rules that are there.
// With what is asked before that backend (Backend::before), and the others of nf_tables
// (Backend::beside).
std::vector<Obstruction> FindObstructions(const FamilyRules& wanted, Backend& backend);
std::vector<Obstruction> FindObstructions(Family family, Backend& backend);
// Of the rules of `backend`, where ours are those of another one that stands behind it.
std::vector<Obstruction> FindObstructionsBefore(const FamilyRules& wanted, Backend& backend);
// Whether there are foreign rules, in tables that were read or beside: otherwise nothing can be
// found.
bool MayObstruct(const Backend& backend);

// The installed Sluice rules, without those that Sluice cannot have written. Has all tables; those
// without Sluice rules are empty.
RuleSet ReadRules(Backend& backend);

}  // namespace sluice::capture
