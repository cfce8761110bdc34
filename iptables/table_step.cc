// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "iptables/table_step.h"

#include "capture/state_text.h"

namespace sluice::iptables {

bool TableStep::Differs() {
  return force_ || !Equal(ReadTable(family_, wanted_.table, names_), wanted_);
}

std::vector<std::string> TableStep::Have() {
  return capture::StateLines(ReadTable(family_, wanted_.table, names_),
                             capture::Counting::kWithout);
}

std::vector<std::string> TableStep::Want() { return capture::RuleLines(wanted_); }

void TableStep::Apply() {
  before_ = ReplaceTable(family_, wanted_, force_ ? Keep::kNothing : Keep::kEqual);
}

void TableStep::Undo() { RestoreTable(family_, wanted_.table, before_); }

std::string TableStep::Summary() const {
  if (wanted_.empty()) return std::string(kNothing);
  std::size_t rules = wanted_.jumps.size();
  for (const capture::Chain& chain : wanted_.chains) rules += chain.rules.size();
  return std::to_string(wanted_.chains.size()) + " chains, " + std::to_string(rules) + " rules";
}

}  // namespace sluice::iptables
