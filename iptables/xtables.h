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

// The xtables backend: one table of one family through libiptc. It speaks for the network namespace
// of the calling thread. Everything throws sluice::Error: kPrivilege names the missing capability,
// kKernelFeature the missing table, extension or family and its module.
namespace sluice::iptables {

using capture::InstalledTable;

// Which tables the kernel has made in this namespace, found without making one: reading a table
// with libiptc would, and other tools then believe that there are legacy rules. Read once and
// remembered until Forget(), because opening a file of /proc costs as much as committing a rule.
// Without the privilege to know, a table is taken to be there.
class TableNames {
 public:
  bool Has(Family family, capture::Table table) { return Has(family, Name(table)); }
  // By name: also those that Sluice has nothing in, "filter" and "security".
  bool Has(Family family, std::string_view table);
  // Whether that was found out, and not only taken to be so.
  bool Knows(Family family);
  // Whether there is any.
  bool HasAny(Family family);

  // Whether ReadTable has met a rule of others in PREROUTING or OUTPUT.
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

// Whether this build has libiptc. In one without it (-DSLUICE_IPTABLES=OFF) TableNames works as
// everywhere, a table that is not there is read as empty, and all else of this file throws.
bool InThisBuild();
// "not in this build", as a person reads it.
inline constexpr std::string_view kNotInThisBuild = "iptables is not in this build";

// The reason when the kernel has no such table. Where it has one, and has not made it in this
// namespace, it makes it.
std::optional<Error> MissingTable(Family family, capture::Table table);

// What is ours in the table now.
InstalledTable ReadTable(Family family, capture::Table table, TableNames& names);

// What ReplaceTable leaves alone of what is ours.
enum class Keep {
  kEqual,   // chains and jumps that are as wanted, with their counters
  kNothing  // everything of ours is written anew
};

// Replaces what is ours in the table with `wanted`, in one atomic commit: the table is as it was or
// as wanted, at any moment and after any failure. Foreign rules keep their counters. Starts over
// when somebody else changes the table at the same time, up to kCommitAttempts times: the kernel
// says so when the number of rules has changed, and the table is read again right before the commit
// and compared for the rest. What comes between that and the commit and leaves the number as it was
// is lost. Returns what was there before.
InstalledTable ReplaceTable(Family family, const capture::TableRules& wanted,
                            Keep keep = Keep::kEqual);

// Puts `before`, which ReplaceTable returned, back: the rules' bytes, positions and counters.
void RestoreTable(Family family, capture::Table table, const InstalledTable& before);

inline constexpr int kCommitAttempts = 10;
// How many of them compare. There may be a rule that reads differently each time, with a state of
// its own, and it must not keep us from writing ours.
inline constexpr int kComparedAttempts = 5;

}  // namespace sluice::iptables
