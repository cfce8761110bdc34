// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include "capture/backend.h"
#include "iptables/xtables.h"

namespace sluice::iptables {

// x_tables: one step for each table of each family.
class XtablesBackend : public capture::Backend {
 public:
  std::string_view Name() const override { return "iptables"; }
  capture::RuleSet Compile(const capture::RuleSet& rules) const override;
  // One text that both iptables-restore and ip6tables-restore accept (restore_text.h).
  std::string Text(const capture::RuleSet& rules) const override;
  std::vector<std::unique_ptr<capture::Step>> Plan(const capture::RuleSet& rules,
                                                   const capture::PlanOptions& options,
                                                   std::vector<std::string>& warnings) override;
  capture::InstalledTable Read(Family family, capture::Table table) override;
  bool SawForeignRules() const override { return names_.saw_foreign_rules(); }
  void Forget() override { names_.Forget(); }

 private:
  TableNames names_;
};

}  // namespace sluice::iptables
