// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "capture/backend.h"
#include "capture/installed.h"
#include "capture/rule.h"

// Rules that are not Sluice's and see a packet before Sluice's do. They are never changed, only
// reported: packets that they decide about are not captured, whatever the configuration says.
//
// Rules of x_tables are seen, whichever backend carries ours. Chains of nf_tables (nft list
// ruleset), eBPF programs and rules of the node are not seen.
namespace sluice::capture {

struct Obstruction {
  Family family = Family::kIpv4;
  Table table = Table::kNat;
  std::string chain = {};  // the built-in one
  std::size_t index = 0;   // from 0
  std::string text = {};   // as iptables -S has it; "..." for parts that Sluice does not know
  std::string meaning = {};
  Counters counters = {};
  // Whether it decides about every packet that matches; otherwise that depends on a condition or
  // target that Sluice does not know.
  bool certain = false;

  // "nat OUTPUT rule 1"
  std::string Place() const;
  // "-p tcp -j ACCEPT (3 packets, 180 bytes): what matches does not come to Sluice's rules ..."
  std::string Description() const;
  // "IPv4 nat OUTPUT rule 1, not Sluice's: " and the description.
  std::string ToString() const;
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
// With what is asked before that backend (Backend::before).
std::vector<Obstruction> FindObstructions(const FamilyRules& wanted, Backend& backend);
std::vector<Obstruction> FindObstructions(Family family, Backend& backend);
// Of the rules of `backend`, where ours are those of another one that stands behind it.
std::vector<Obstruction> FindObstructionsBefore(const FamilyRules& wanted, Backend& backend);
// Whether tables that were read have foreign rules: otherwise nothing can be found.
bool MayObstruct(const Backend& backend);

// The installed Sluice rules, without those that Sluice cannot have written. Has all tables; those
// without Sluice rules are empty.
RuleSet ReadRules(Backend& backend);

}  // namespace sluice::capture
