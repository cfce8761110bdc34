// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "capture/installed.h"
#include "capture/rule.h"

// The xtables backend: one table of one family, in the network namespace of the
// calling thread. All functions throw sluice::Error: kPrivilege names the missing capability,
// kKernelFeature the missing table, extension or family and its module.
namespace sluice::iptables {

using capture::InstalledTable;

// The file in which x_tables names the tables of this namespace: it is there once x_tables is
// loaded for the family, and nothing else makes it.
enum class NamesFile { kMissing, kUnreadable, kReadable };
NamesFile FindNames(Family family);

// Which tables exist in this namespace. Does not create any, while reading a table
// would, and other tools would then believe that there are legacy rules. Read once and cached until
// Forget(), because opening a /proc file costs as much as committing a rule. Without the privilege
// to find out, tables are assumed to exist.
class TableNames {
 public:
  bool Has(Family family, capture::Table table) { return Has(family, Name(table)); }
  // By name: also tables that Sluice does not use, "filter" and "security".
  bool Has(Family family, std::string_view table);
  // Whether the answer is known, not just assumed.
  bool Knows(Family family);
  // Whether there is any.
  bool HasAny(Family family);

  // Whether ReadTable has seen a foreign rule in PREROUTING or OUTPUT.
  bool saw_foreign_rules() const { return saw_foreign_rules_; }
  void NoteForeignRules() { saw_foreign_rules_ = true; }
  void Forget();

 private:
  struct Names {
    bool known;
    std::string lines;  // "\nnat\nmangle\n"
  };
  std::optional<Names> v4_;
  std::optional<Names> v6_;
  bool saw_foreign_rules_ = false;
};

// Whether this build has x_tables. Without (-DSLUICE_IPTABLES=OFF) TableNames works as usual, a
// table that does not exist reads as empty, and all other functions here throw.
bool InThisBuild();
// The message for users.
inline constexpr std::string_view kNotInThisBuild = "iptables is not in this build";

// The reason when the kernel has no such table. Creates the table if the kernel has it but it does
// not exist in this namespace yet.
std::optional<Error> MissingTable(Family family, capture::Table table);

// The Sluice rules that are now in the table.
InstalledTable ReadTable(Family family, capture::Table table, TableNames& names);

// Which Sluice rules ReplaceTable leaves alone.
enum class Keep {
  kEqual,   // chains and jumps that are already as wanted, with their counters
  kNothing  // none: all Sluice rules are rewritten
};

// Replaces the Sluice rules in the table with `wanted`, in one atomic commit: at any moment and
// after any failure the table is in the old or the new state. Foreign rules keep their counters.
// Starts over, up to kCommitAttempts times, when another process changes the table at the same
// time. The kernel only detects a changed number of rules, so the table is also read again right
// before the commit and compared. A change between that and the commit that keeps the number of
// rules is lost. Returns the previous state.
InstalledTable ReplaceTable(Family family, const capture::TableRules& wanted,
                            Keep keep = Keep::kEqual);

// Restores `before`, which ReplaceTable returned: the rules' bytes, positions and counters.
void RestoreTable(Family family, capture::Table table, const InstalledTable& before);

inline constexpr int kCommitAttempts = 10;
// How many of these attempts compare. A rule may read differently each time, because it has state
// of its own; it must not keep Sluice from writing its rules.
inline constexpr int kComparedAttempts = 5;

}  // namespace sluice::iptables
