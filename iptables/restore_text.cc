// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "iptables/restore_text.h"

#include <algorithm>
#include <vector>

#include "capture/rule_text.h"

namespace sluice::iptables {
namespace {

// The rules of one chain of one family, as "-A CHAIN ..." lines.
struct ChainText {
  std::string name;
  std::vector<std::string> lines;
};

std::vector<ChainText> ChainTexts(const capture::TableRules& rules) {
  std::vector<ChainText> out;
  const auto line = [](std::string_view chain, const capture::Rule& rule) {
    return "-A " + std::string(chain) + " " + ToText(rule);
  };
  for (const capture::Hook hook : {capture::Hook::kPrerouting, capture::Hook::kOutput}) {
    ChainText text{.name = std::string(Name(hook)), .lines = {}};
    for (const capture::EntryJump& jump : rules.jumps) {
      if (jump.hook == hook) text.lines.push_back(line(text.name, jump.rule));
    }
    if (!text.lines.empty()) out.push_back(std::move(text));
  }
  for (const capture::Chain& chain : rules.chains) {
    ChainText text{.name = chain.name, .lines = {}};
    for (const capture::Rule& rule : chain.rules) text.lines.push_back(line(chain.name, rule));
    out.push_back(std::move(text));
  }
  return out;
}

std::string Section(capture::Table table, const std::vector<std::string>& chains,
                    const std::string& lines) {
  std::string out = "*" + std::string(Name(table)) + "\n";
  for (const std::string& chain : chains) out += ":" + chain + " - [0:0]\n";
  return out + lines + "COMMIT\n";
}

std::vector<std::string> ChainNames(const capture::TableRules& rules) {
  std::vector<std::string> names;
  for (const capture::Chain& chain : rules.chains) names.push_back(chain.name);
  return names;
}

void Append(std::string& out, const std::vector<std::string>& lines, std::string_view prefix = "") {
  for (const std::string& line : lines) {
    out += prefix;
    out += line;
    out += '\n';
  }
}

// The chains in the order of `v4`, then those that only `v6` has. A chain that is equal in both is
// written once; otherwise each family's lines are marked.
std::string MergedSection(const capture::TableRules& v4, const capture::TableRules& v6) {
  const std::vector<std::string> v4_names = ChainNames(v4);
  const std::vector<std::string> v6_names = ChainNames(v6);
  const auto has = [](const std::vector<std::string>& names, const std::string& name) {
    return std::ranges::find(names, name) != names.end();
  };
  std::vector<std::string> shared;
  std::string lines;
  // A line that declares a chain cannot be marked; a command that creates one can.
  for (const std::string& name : v4_names) {
    if (has(v6_names, name)) {
      shared.push_back(name);
    } else {
      lines += "-4 -N " + name + "\n";
    }
  }
  for (const std::string& name : v6_names) {
    if (!has(v4_names, name)) lines += "-6 -N " + name + "\n";
  }
  std::vector<ChainText> left = ChainTexts(v6);
  for (const ChainText& chain : ChainTexts(v4)) {
    const auto twin = std::ranges::find(left, chain.name, &ChainText::name);
    const bool same = twin != left.end() && twin->lines == chain.lines;
    Append(lines, chain.lines, same ? "" : "-4 ");
    if (twin == left.end()) continue;
    if (!same) Append(lines, twin->lines, "-6 ");
    left.erase(twin);
  }
  for (const ChainText& chain : left) Append(lines, chain.lines, "-6 ");
  return Section(v4.table, shared, lines);
}

}  // namespace

std::string RestoreText(const capture::FamilyRules& rules) {
  std::string out;
  for (const capture::TableRules& table : rules.tables) {
    if (table.empty()) continue;
    std::string lines;
    for (const ChainText& chain : ChainTexts(table)) Append(lines, chain.lines);
    out += Section(table.table, ChainNames(table), lines);
  }
  return out;
}

std::string RestoreText(const capture::RuleSet& rules) {
  if (rules.v6.empty()) return RestoreText(rules.v4);
  std::string out;
  for (const capture::Table table : capture::kTables) {
    const capture::TableRules& v4 = rules.v4.table(table);
    const capture::TableRules& v6 = rules.v6.table(table);
    if (!v4.empty() || !v6.empty()) out += MergedSection(v4, v6);
  }
  return out;
}

}  // namespace sluice::iptables
