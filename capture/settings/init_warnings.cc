// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/settings/init_warnings.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace sluice::capture {
namespace {

// "a, b, c and 7 more". `items` have ToString.
std::string Some(const auto& items) {
  constexpr std::size_t kShown = 3;
  std::string out;
  for (std::size_t i = 0; i < std::min(items.size(), kShown); ++i) {
    out += (out.empty() ? "" : ", ") + items[i].ToString();
  }
  if (items.size() > kShown) out += " and " + std::to_string(items.size() - kShown) + " more";
  return out;
}

class Warnings {
 public:
  Warnings(const Settings& settings, InitConfig& config) : settings_(settings), config_(config) {}

  void Add() {
    const CaptureConfig& capture = config_.capture;
    AddCapturesNothing();
    AddExcluded();
    if (!capture.inbound_ports.all && !capture.inbound_exclude_ports.empty()) {
      HasNoEffect("istio-local-exclude-ports", ": not all inbound ports are captured");
    }
    if (capture.capture_listening && capture.inbound_ports.empty() && needs_configuration()) {
      HasNoEffect("capture-listening", ": no inbound port is captured");
    }
    if (capture.capture_all_dns && !capture.redirect_dns) {
      HasNoEffect("capture-all-dns", " without --redirect-dns");
    }
    if (config_.rollback_on_failed_validation && !config_.run_validation) {
      HasNoEffect("rollback-on-failed-validation", " without --run-validation");
    }
    AddDoesNothing();
  }

 private:
  bool needs_configuration() const {
    const Command command = settings_.command;
    const bool reads_only =
        command == Command::kShow || command == Command::kDoctor || command == Command::kTrace ||
        ((command == Command::kExplain || command == Command::kGraph) && !config_.planned);
    return !reads_only && !config_.cleanup_only;
  }

  void Say(std::string warning) { config_.warnings.push_back(std::move(warning)); }

  void HasNoEffect(std::string_view name, std::string_view why) {
    Say(settings_.Origin(name) + " has no effect" + std::string(why));
  }

  void AddCapturesNothing() {
    const CaptureConfig& capture = config_.capture;
    const bool outbound = capture.outbound_ranges.all || !capture.outbound_ranges.ranges.empty() ||
                          !capture.outbound_ports.empty();
    if (!needs_configuration() || outbound || !capture.inbound_ports.empty()) return;
    Say("no connection is captured: neither --istio-inbound-ports (-b) nor --istio-service-cidr "
        "(-i) nor --istio-outbound-ports (-q) names any");
  }

  // Names what a list of what to capture has and a single item of a list of exceptions contains.
  // Lists are merged: what several exceptions cover together, one does, too.
  void AddExcluded(std::string_view included_by, const auto& included, std::string_view excluded_by,
                   const auto& excluded) {
    std::remove_cvref_t<decltype(included)> gone;
    for (const auto& item : included) {
      const auto covers = [&item](const auto& each) { return each.Contains(item); };
      if (std::ranges::any_of(excluded, covers)) gone.push_back(item);
    }
    if (gone.empty()) return;
    const bool one = gone.size() == 1;
    Say(Some(gone) + " of " + settings_.Origin(included_by) + (one ? " is" : " are") +
        " not captured: " + settings_.Origin(excluded_by) + " excludes all of " +
        (one ? "it" : "them"));
  }

  void AddExcluded() {
    const CaptureConfig& capture = config_.capture;
    const std::vector<Cidr> everywhere = {Cidr::Parse("0.0.0.0/0"), Cidr::Parse("::/0")};
    const std::vector<PortRange> every_port = {PortRange{.first = 1, .last = 65535}};
    const std::vector<Cidr>& ranges =
        capture.outbound_ranges.all ? everywhere : capture.outbound_ranges.ranges;
    AddExcluded("istio-service-cidr", ranges, "istio-service-exclude-cidr",
                capture.outbound_exclude_ranges);
    AddExcluded("istio-outbound-ports", capture.outbound_ports,
                "istio-local-outbound-ports-exclude", capture.outbound_exclude_ports);
    if (!ranges.empty() && capture.outbound_exclude_ports == every_port) {
      Say("no outbound connection is captured: " +
          settings_.Origin("istio-local-outbound-ports-exclude") + " excludes every port");
    }
    if (capture.inbound_ports.all && capture.inbound_exclude_ports == every_port) {
      Say("no inbound connection is captured: " + settings_.Origin("istio-local-exclude-ports") +
          " excludes every port");
    }
    if (capture.inbound_ports.empty()) return;
    for (const Cidr& each : everywhere) {
      if (std::ranges::find(capture.inbound_exclude_ranges, each) ==
          capture.inbound_exclude_ranges.end()) {
        continue;
      }
      Say("no inbound connection from " + each.ToString() +
          " is captured: " + settings_.Origin("istio-inbound-exclude-cidr") + " excludes it");
    }
  }

  void AddDoesNothing() {
    if (config_.cleanup_only && config_.run_validation) {
      HasNoEffect("run-validation", " with --cleanup-only");
    }
    if (settings_.command != Command::kApply || config_.dry_run || !config_.skip_rule_apply) return;
    if (config_.cleanup_only) {
      Say("nothing is removed: " + settings_.Origin("skip-rule-apply") +
          " leaves the rules as they are");
    } else if (!config_.run_validation) {
      Say("nothing is done: " + settings_.Origin("skip-rule-apply") +
          " leaves the rules as they are, and --run-validation is not given");
    }
  }

  const Settings& settings_;
  InitConfig& config_;
};

}  // namespace

void AddWarnings(const Settings& settings, InitConfig& config) { Warnings(settings, config).Add(); }

}  // namespace sluice::capture
