#include "cmd/sluice-init/plan.h"

#include "base/error.h"
#include "capture/capture_rules.h"
#include "iptables/table_step.h"
#include "netns/network_steps.h"
#include "verify/probe_link.h"

namespace sluice::init {
namespace {

using capture::Step;
using capture::Table;
using capture::TableRules;

// A table that is worth having but not worth failing for: without raw, DNS is redirected all the
// same, but shares one conntrack zone.
class OptionalTableStep : public iptables::TableStep {
 public:
  OptionalTableStep(Family family, capture::TableRules wanted, PlanContext& context, bool force)
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

std::vector<std::unique_ptr<capture::Step>> PlanSteps(const capture::InitConfig& config,
                                                      PlanContext& context) {
  std::vector<std::unique_ptr<capture::Step>> steps;
  capture::RuleSet rules;
  if (!config.cleanup_only) rules = capture::BuildRules(config.capture);
  const bool force = config.force_apply && !config.cleanup_only;
  for (const Family family : capture::kFamilies) {
    for (const capture::Table table : capture::kTables) {
      capture::TableRules wanted{.table = table};
      if (!config.cleanup_only) wanted = rules.family(family).table(table);
      const bool forced = force && !wanted.empty();
      if (table == capture::Table::kRaw) {
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
  steps.push_back(std::make_unique<netns::PassthroughAddressStep>(context.network, address));
  if (config.cleanup_only) {
    steps.push_back(std::make_unique<verify::ProbeLinkCleanupStep>(context.network.socket()));
  }
  const auto routing =
      config.cleanup_only ? std::nullopt : capture::BuildPolicyRouting(config.capture);
  for (const Family family : capture::kFamilies) {
    const bool captured = family == Family::kIpv4 || config.capture.ipv6;
    steps.push_back(std::make_unique<netns::PolicyRoutingStep>(context.network, family,
                                                               captured ? routing : std::nullopt));
  }
  return steps;
}

}  // namespace sluice::init
