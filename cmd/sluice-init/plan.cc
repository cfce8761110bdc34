#include "cmd/sluice-init/plan.h"

#include "base/error.h"
#include "cmd/sluice-init/network_steps.h"
#include "cmd/sluice-init/probe_link.h"
#include "iptables/capture_rules.h"
#include "iptables/table_step.h"

namespace sluice::init {
namespace {

using iptables::Step;
using iptables::Table;
using iptables::TableRules;

// A table that is worth having but not worth failing for: without raw, DNS is redirected all the
// same, but shares one conntrack zone (trap 22).
class OptionalTableStep : public iptables::TableStep {
 public:
  OptionalTableStep(Family family, TableRules wanted, PlanContext& context, bool force)
      : TableStep(family, std::move(wanted), context.names, force), warnings_(context.warnings) {}

  void Apply() override {
    try {
      TableStep::Apply();
      left_out_ = false;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kKernelFeature) throw;
      left_out_ = true;
      warnings_.push_back(std::string(error.what()) +
                          "; DNS is captured without conntrack zones of its own, and a query of an "
                          "application may be answered with one of the proxy's");
    }
  }
  void Undo() override {
    if (!left_out_) TableStep::Undo();
  }
  bool Changed() const override { return !left_out_; }
  std::string Summary() const override { return left_out_ ? "left out" : TableStep::Summary(); }

 private:
  std::vector<std::string>& warnings_;
  bool left_out_ = false;
};

}  // namespace

std::vector<std::unique_ptr<Step>> PlanSteps(const InitConfig& config, PlanContext& context) {
  std::vector<std::unique_ptr<Step>> steps;
  iptables::RuleSet rules;
  if (!config.cleanup_only) rules = iptables::BuildRules(config.capture);
  const bool force = config.force_apply && !config.cleanup_only;
  for (const Family family : iptables::kFamilies) {
    for (const Table table : iptables::kTables) {
      TableRules wanted{.table = table};
      if (!config.cleanup_only) wanted = rules.family(family).table(table);
      const bool forced = force && !wanted.empty();
      if (table == Table::kRaw) {
        steps.push_back(
            std::make_unique<OptionalTableStep>(family, std::move(wanted), context, forced));
      } else {
        steps.push_back(std::make_unique<iptables::TableStep>(family, std::move(wanted),
                                                              context.names, forced));
      }
    }
  }
  // Before the routes: where IPv6 is disabled on lo, this one says what helps.
  const bool address = config.capture.ipv6 && !config.cleanup_only;
  steps.push_back(std::make_unique<PassthroughAddressStep>(context.network, address));
  if (config.cleanup_only) {
    steps.push_back(std::make_unique<ProbeLinkCleanupStep>(context.network.socket()));
  }
  const auto routing =
      config.cleanup_only ? std::nullopt : iptables::BuildPolicyRouting(config.capture);
  for (const Family family : iptables::kFamilies) {
    const bool captured = family == Family::kIpv4 || config.capture.ipv6;
    steps.push_back(std::make_unique<PolicyRoutingStep>(context.network, family,
                                                        captured ? routing : std::nullopt));
  }
  return steps;
}

}  // namespace sluice::init
