#pragma once

#include <string>
#include <vector>

#include "capture/rule.h"
#include "iptables/xtables.h"

// What is in a table as the lines of `iptables -S`: jumps of built-in chains, then each chain with
// its rules, chains sorted by name.
namespace sluice::iptables {

enum class Counting { kWithout, kWith };

// With counters a rule's line begins with "[packets:bytes] ", as in iptables-save -c. A rule that
// Sluice cannot have written is "-A CHAIN (a foreign rule: TARGET)".
std::vector<std::string> StateLines(const TableState& state, Counting counting);

std::vector<std::string> RuleLines(const capture::TableRules& rules);

// One rule of those lines, without the chain.
std::string RuleLine(const InstalledRule& rule);

}  // namespace sluice::iptables
