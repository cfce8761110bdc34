// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

#include "capture/installed.h"
#include "capture/rule.h"

// The contents of a table as the lines of `iptables -S`: jumps of built-in chains, then each chain
// with its rules, chains sorted by name.
namespace sluice::capture {

enum class Counting { kWithout, kWith };

// With counters each rule line begins with "[packets:bytes] ", as in iptables-save -c. A rule that
// Sluice cannot have written is "-A CHAIN (a foreign rule: TARGET)".
std::vector<std::string> StateLines(const InstalledTable& state, Counting counting);

std::vector<std::string> RuleLines(const TableRules& rules);

// One rule as in those lines, without the chain.
std::string RuleLine(const InstalledRule& rule);

}  // namespace sluice::capture
