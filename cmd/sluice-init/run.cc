// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-init/run.h"

#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "apply/drift.h"
#include "apply/plan.h"
#include "apply/site.h"
#include "base/error.h"
#include "base/os/capabilities.h"
#include "base/standard_output.h"
#include "base/text/program_text.h"
#include "capture/capture_rules.h"
#include "capture/foreign.h"
#include "capture/settings/effective.h"
#include "capture/settings/init_config.h"
#include "cmd/sluice-init/doctor/doctor.h"
#include "cmd/sluice-init/explain/explain.h"
#include "cmd/sluice-init/explain/others.h"
#include "cmd/sluice-init/graph.h"
#include "cmd/sluice-init/report.h"
#include "cmd/sluice-init/show.h"
#include "cmd/sluice-init/trace/trace.h"
#include "cmd/version.h"
#include "iptables/xtables.h"
#include "netns/host.h"
#include "netns/namespace.h"
#include "verify/probe_link.h"
#include "verify/verify.h"

namespace sluice::init {
namespace {

using apply::Site;
using Clock = std::chrono::steady_clock;

// Removes what a killed validation left. A validation in progress would hold the lock.
void RemoveLeftovers(capture::InitConfig& config, Site& site) {
  if (!verify::MayHaveProbeLink(site.network)) return;
  if (!site.lock.held() && !site.lock.Try()) return;
  try {
    if (verify::RemoveProbeLinks(site.socket) == 0) return;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kPrivilege) throw;
    return;
  }
  site.network.Forget();
  config.warnings.push_back("removed the interface of a validation that was killed");
}

// Warns of foreign rules that decide first about packets that ours would capture.
void WarnOfObstructions(capture::InitConfig& config, capture::Backend& backend) {
  if (config.cleanup_only || !capture::MayObstruct(backend)) return;
  const capture::RuleSet rules = capture::BuildRules(config.capture);
  for (const Family family : capture::kFamilies) {
    for (const auto& found : capture::FindObstructions(rules.family(family), backend)) {
      config.warnings.push_back(found.ToString());
    }
  }
}

// Warns of foreign rules that also capture: only their owner may remove them.
void WarnOfForeignCaptures(capture::InitConfig& config, apply::Backends& backends) {
  for (const std::string& found : backends.ForeignCaptures()) {
    config.warnings.push_back(found +
                              " (nf_tables), not Sluice's, captures as well; it is left "
                              "alone: remove it with what made it");
  }
}

void DryRun(capture::InitConfig& config, Site& site, Report& report) {
  report.action = "dry run";
  if (config.cleanup_only) {
    // What it would print for another run captures.
    config.notes.push_back(
        "a clean-up writes no rules; `sluice-init diff --cleanup-only` shows what it would remove");
    return;
  }
  netns::FillFromHost(config, site.network);
  WriteOutput(site.backend().Text(capture::BuildRules(config.capture)));
}

void Apply(capture::InitConfig& config, Site& site, Report& report) {
  report.action = config.cleanup_only ? "clean-up" : "apply";
  if (!config.skip_rule_apply) site.backends.CheckPrivilege();
  // Take the lock before looking, so that looking once is enough.
  site.lock.Try();
  if (!config.cleanup_only) RemoveLeftovers(config, site);
  if (!config.cleanup_only) netns::FillFromHost(config, site.network);
  apply::PlanContext context{
      .network = site.network, .backend = site.backend(), .other = site.backends.other()};
  auto steps = apply::PlanSteps(config, context);
  if (config.skip_rule_apply) steps.clear();
  const bool validate = config.run_validation && !config.cleanup_only;
  // As a step of the transaction, its failure fails the transaction.
  const bool as_step = validate && config.rollback_on_failed_validation;
  if (as_step) {
    steps.push_back(std::make_unique<verify::ValidationStep>(config, site.socket, site.backend(),
                                                             report.checks));
  }
  report.steps = capture::RunTransaction(steps, site.lock, config.lock_wait).steps;
  if (as_step) report.steps.pop_back();  // the report has its checks
  WarnOfObstructions(config, site.backend());
  WarnOfForeignCaptures(config, site.backends);
  if (config.cleanup_only && !site.backends.unseen().empty()) {
    config.warnings.push_back(site.backends.unseen());
  }
  if (validate && !as_step)
    verify::Validate(config, site.lock, site.socket, site.backend(), report.checks);
  config.warnings.insert(config.warnings.end(), context.warnings.begin(), context.warnings.end());
}

void Verify(capture::InitConfig& config, Site& site, Report& report) {
  report.action = "verify";
  netns::FillFromHost(config, site.network);
  verify::Validate(config, site.lock, site.socket, site.backend(), report.checks);
}

void Show(capture::InitConfig& config, Site& site, Report& report) {
  report.action = "show";
  RemoveLeftovers(config, site);
  WriteOutput(config.json_output ? ShowJson(config, site.network, site.backends)
                                 : ShowText(config, site.network, site.backends));
}

void Explain(capture::InitConfig& config, Site& site, Report& report) {
  report.action = "explain";
  if (config.planned) netns::FillFromHost(config, site.network);
  const auto model = config.planned ? PlanModel(config, site.backend()) : ReadInstalled();
  WriteOutput(init::Explain(config, model, site.network));
}

void DrawGraph(capture::InitConfig& config, Site& site, Report& report) {
  report.action = "graph";
  if (config.planned) netns::FillFromHost(config, site.network);
  report.summary = Graph(config, site.backend());
}

void Diff(capture::InitConfig& config, Site& site, Report& report) {
  report.action = "diff";
  RemoveLeftovers(config, site);
  if (!config.cleanup_only) netns::FillFromHost(config, site.network);
  const apply::Drift drift = apply::FindDrift(config, site.network, site.backends);
  WriteOutput(config.json_output ? drift.Json() : drift.Text());
  report.drift = drift.any();
  WarnOfObstructions(config, site.backend());
}

void Doctor(capture::InitConfig& config, Site& site, Report& report) {
  report.action = "doctor";
  const auto findings = Diagnose(config, site.here.fd(), site.network, site.backends);
  WriteOutput(config.json_output ? doctor::ToJson(findings) : doctor::ToText(findings));
  report.problem = doctor::HasProblem(findings);
  report.summary = doctor::Summary(findings);
}

void Execute(capture::Command command, capture::InitConfig& config, Report& report) {
  RaisePermitted();
  if (!config.network_namespace.empty()) {
    netns::EnterForGood(netns::Namespace::Open(config.network_namespace));
  }
  Site site;
  report.network_namespace = site.here.name();
  // Choosing a backend queries the kernel, which may load a module.
  if (command == capture::Command::kDoctor) return Doctor(config, site, report);
  // It shows what both do, and needs fewer privileges.
  if (command == capture::Command::kTrace) {
    report.action = "trace";
    report.summary = Trace(config, site.network);
    return;
  }
  site.backends.Choose(config);
  OthersInNfTables others(site.backends, site.network);
  site.backends.StandBeside(&others);
  const auto note_backend = [&] {
    report.backend = site.backend().Name();
    report.backend_why = site.backends.why();
  };
  note_backend();
  if (command == capture::Command::kShow) return Show(config, site, report);
  if (command == capture::Command::kExplain) return Explain(config, site, report);
  if (command == capture::Command::kGraph) return DrawGraph(config, site, report);
  if (command == capture::Command::kDiff) return Diff(config, site, report);
  if (command == capture::Command::kVerify) return Verify(config, site, report);
  if (config.dry_run) return DryRun(config, site, report);
  site.backends.Run([&] {
    note_backend();
    Apply(config, site, report);
  });
}

// A look at what cannot be understood, so that machines can read the error.
bool AsksForJson(const std::vector<std::string>& arguments,
                 const capture::Environment& environment) {
  const char* const variable = environment("SLUICE_LOG_FORMAT");
  bool json = variable != nullptr && std::string_view(variable) == "json";
  std::string_view before;
  for (const std::string_view argument : arguments) {
    json |= argument == "--log_as_json" || argument == "--log_as_json=true" ||
            argument == "--log-format=json" || (before == "--log-format" && argument == "json");
    before = argument;
  }
  return json;
}

}  // namespace

int Run(const std::vector<std::string>& arguments, const capture::Environment& environment) {
  const auto start = Clock::now();
  Report report;
  report.action = "read the configuration";
  using enum capture::LogFormat;
  capture::LogFormat format = AsksForJson(arguments, environment) ? kJson : kText;
  capture::LogLevel level = capture::LogLevel::kInfo;
  std::vector<std::string> warnings;
  try {
    if (const auto text = AnswerCompletion(arguments, capture::DescribeProgram)) {
      return WriteOutput(*text), 0;
    }
    const capture::Settings settings = capture::ParseCommandLine(arguments, environment);
    if (settings.command == capture::Command::kHelp) return WriteOutput(capture::HelpText()), 0;
    if (settings.command == capture::Command::kVersion)
      return WriteOutput("sluice-init " SLUICE_VERSION_TEXT "\n"), 0;
    // Known before anything else can fail, so that errors can be machine-readable as well.
    const bool json = settings.Text("log-format") == "json" || settings.Bool("log_as_json");
    format = json ? kJson : kText;
    capture::InitConfig config = capture::ToInitConfig(settings);
    if (settings.Bool("print-config")) {
      const bool both = iptables::InThisBuild();
      return WriteOutput(capture::DescribeSettings(
                 settings, config,
                 both ? capture::IptablesBuild::kIn : capture::IptablesBuild::kNotIn)),
             0;
    }
    level = config.log_level;
    try {
      Execute(settings.command, config, report);
    } catch (const Error& error) {
      report.error = error;
    }
    report.warnings = config.warnings;
    report.notes = config.notes;
    // Also after a failure, when it is most useful.
    const bool verified = settings.command == capture::Command::kVerify && !report.checks.empty();
    if (verified && config.json_output) WriteOutput(ChecksJson(report));
  } catch (const Error& error) {
    report.error = error;
  } catch (const std::exception& error) {
    report.error = Error(ErrorKind::kFailed,
                         {.doing = report.action, .target = {}, .why = error.what(), .help = {}});
  }
  report.duration = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start);
  Print(report, format, level);
  return report.exit_code();
}

}  // namespace sluice::init
