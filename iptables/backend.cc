// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "iptables/backend.h"

#include <optional>

#include "base/error.h"
#include "iptables/compile.h"
#include "iptables/restore_text.h"
#include "iptables/table_step.h"

namespace sluice::iptables {
namespace {

using capture::Step;
using capture::Table;
using capture::TableRules;

// A table that is useful but not required: without raw, DNS is still redirected, but shares one
// conntrack zone.
class OptionalTableStep : public TableStep {
 public:
  OptionalTableStep(Family family, TableRules wanted, TableNames& names, bool force,
                    std::vector<std::string>& warnings)
      : TableStep(family, std::move(wanted), names, force), names_(names), warnings_(warnings) {}

  // A table that is impossible is no difference; otherwise there would always be one.
  bool Differs() override { return TableStep::Differs() && !CannotBe(); }
  std::vector<std::string> Want() override {
    return CannotBe() ? std::vector<std::string>() : TableStep::Want();
  }
  void Apply() override {
    try {
      TableStep::Apply();
      left_out_ = false;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kKernelFeature) throw;
      LeaveOut(error.what());
    }
  }
  void Undo() override {
    if (!left_out_) TableStep::Undo();
  }
  bool Changed() const override { return !left_out_; }
  std::string Summary() const override { return left_out_ ? "left out" : TableStep::Summary(); }

 private:
  // Asks the kernel, which creates the table if it can. So it does not ask if the family has no
  // tables yet: then the other tables differ, and diff must not create one.
  bool CannotBe() {
    if (left_out_) return true;
    if (TableStep::Want().empty() || names_.Has(family(), Table::kRaw)) return false;
    if (!names_.HasAny(family())) return false;
    const std::optional<Error> missing = MissingTable(family(), Table::kRaw);
    if (missing) LeaveOut(missing->what());
    return left_out_;
  }
  void LeaveOut(const std::string& why) {
    left_out_ = true;
    warnings_.push_back(why +
                        "; DNS is captured without conntrack zones of its own, and a query of an "
                        "application may be answered with one of the proxy's");
  }

  TableNames& names_;
  std::vector<std::string>& warnings_;
  bool left_out_ = false;
};

}  // namespace

capture::RuleSet XtablesBackend::Compile(const capture::RuleSet& rules) const {
  return iptables::Compile(rules);
}

std::string XtablesBackend::Text(const capture::RuleSet& rules) const {
  return RestoreText(iptables::Compile(rules));
}

std::vector<std::unique_ptr<Step>> XtablesBackend::Plan(const capture::RuleSet& rules,
                                                        const capture::PlanOptions& options,
                                                        std::vector<std::string>& warnings) {
  std::vector<std::unique_ptr<Step>> steps;
  for (const Family family : capture::kFamilies) {
    for (const Table table : capture::kTables) {
      TableRules wanted{.table = table};
      if (!rules.family(family).empty()) {
        wanted = iptables::Compile(rules.family(family).table(table));
      }
      const bool force = options.force && !wanted.empty();
      if (table == Table::kRaw) {
        steps.push_back(std::make_unique<OptionalTableStep>(family, std::move(wanted), names_,
                                                            force, warnings));
      } else {
        steps.push_back(std::make_unique<TableStep>(family, std::move(wanted), names_, force));
      }
    }
  }
  return steps;
}

capture::InstalledTable XtablesBackend::Read(Family family, Table table) {
  return ReadTable(family, table, names_);
}

}  // namespace sluice::iptables
