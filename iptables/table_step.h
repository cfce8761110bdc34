// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>

#include "capture/rule.h"
#include "capture/transaction.h"
#include "iptables/xtables.h"

namespace sluice::iptables {

// A transaction step for one table of one family: the Sluice rules there become `wanted`. An empty
// `wanted` removes them all, without creating a table that does not exist.
class TableStep : public capture::Step {
 public:
  // `names` may be shared with other steps, and must outlive them. With `force` the table is
  // written even if nothing differs.
  TableStep(Family family, capture::TableRules wanted, TableNames& names, bool force = false)
      : family_(family), wanted_(std::move(wanted)), names_(names), force_(force) {}

  std::string Name() const override { return capture::Describe(family_, wanted_.table); }
  void Forget() override { names_.Forget(); }
  bool Differs() override;
  std::vector<std::string> Have() override;
  std::vector<std::string> Want() override;
  void Apply() override;
  void Undo() override;
  std::string Summary() const override;

  Family family() const { return family_; }

 private:
  Family family_;
  capture::TableRules wanted_;
  TableNames& names_;
  bool force_;
  capture::InstalledTable before_;
};

}  // namespace sluice::iptables
