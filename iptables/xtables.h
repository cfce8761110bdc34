#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "capture/rule.h"

// The xtables backend: one table of one family through libiptc. It speaks for the network namespace
// of the calling thread. Everything throws sluice::Error: kPrivilege names the missing capability,
// kKernelFeature the missing table, extension or family and its module.
namespace sluice::iptables {

struct Counters {
  std::uint64_t packets = 0;
  std::uint64_t bytes = 0;
};

// A rule as the kernel holds it.
struct InstalledRule {
  // Nothing for a rule that Sluice cannot have written.
  std::optional<capture::Rule> rule;
  // The chain, verdict or extension that it leads to.
  std::string target;
  Counters counters;
  // The kernel's own bytes, to put back exactly what was there.
  std::vector<std::byte> entry;
};

struct InstalledChain {
  std::string name;
  std::vector<InstalledRule> rules;
};

// A rule of a built-in chain that leads into a chain of ours.
struct InstalledJump {
  std::string chain;          // the built-in chain
  unsigned int position = 0;  // its index there, from 0
  InstalledRule rule;
};

// All that is ours in a table, and what of others' leads there.
struct TableState {
  // False when the kernel has not made the table in this namespace. Looking does not make it.
  bool exists = false;
  std::vector<InstalledChain> chains;  // sorted by name, as libiptc keeps them
  std::vector<InstalledJump> jumps;
  // "chain FOO, rule 3, jumps to ISTIO_REDIRECT": rules of chains that are not ours.
  std::vector<std::string> foreign_references;

  bool empty() const { return chains.empty() && jumps.empty(); }
};

// Whether what is installed is `wanted`: the same chains, with equal rules in equal order, and the
// same jumps from the same built-in chains. The order of chains and the counters do not matter.
bool Equal(const TableState& installed, const capture::TableRules& wanted);

// "nat table (IPv4)".
std::string Describe(Family family, capture::Table table);

// Which tables the kernel has made in this namespace, found without making one: reading a table
// with libiptc would, and other tools then believe that there are legacy rules. Read once and
// remembered until Forget(), because opening a file of /proc costs as much as committing a rule.
// Without the privilege to know, a table is taken to be there.
class TableNames {
 public:
  bool Has(Family family, capture::Table table);
  void Forget();

 private:
  struct Names {
    bool known;
    std::string lines;  // "\nnat\nmangle\n"
  };
  std::optional<Names> v4_;
  std::optional<Names> v6_;
};

// What is ours in the table now.
TableState ReadTable(Family family, capture::Table table, TableNames& names);

// What ReplaceTable leaves alone of what is ours.
enum class Keep {
  kEqual,   // chains and jumps that are as wanted, with their counters
  kNothing  // everything of ours is written anew
};

// Replaces what is ours in the table with `wanted`, in one atomic commit: the table is as it was or
// as wanted, at any moment and after any failure. Foreign rules keep their counters. Starts over
// when somebody else changes the table at the same time, up to kCommitAttempts times. Returns what
// was there before.
TableState ReplaceTable(Family family, const capture::TableRules& wanted, Keep keep = Keep::kEqual);

// Puts `before`, which ReplaceTable returned, back: the rules' bytes, positions and counters.
void RestoreTable(Family family, capture::Table table, const TableState& before);

inline constexpr int kCommitAttempts = 10;

}  // namespace sluice::iptables
