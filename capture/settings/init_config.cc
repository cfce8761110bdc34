// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/settings/init_config.h"

#include <algorithm>
#include <array>
#include <optional>
#include <stdexcept>
#include <utility>

#include "base/duration.h"
#include "base/parse.h"
#include "base/pod_contract.h"
#include "capture/settings/account_names.h"
#include "capture/settings/init_warnings.h"
#include "capture/settings/setting_reader.h"

namespace sluice::capture {
namespace {

// A day: more than that was probably typed in the wrong unit.
constexpr std::chrono::hours kLongestDuration{24};
// A pod that waits longer for its rules is better restarted.
constexpr std::chrono::hours kLongestWait{1};

void ReadProxy(const SettingReader& reader, CaptureConfig& capture) {
  capture.outbound_port = reader.Port("envoy-port");
  capture.inbound_port = reader.Port("inbound-capture-port");
  capture.tunnel_port = reader.Port("inbound-tunnel-port");
  if (capture.outbound_port == capture.inbound_port) {
    reader.Refuse("inbound-capture-port", reader.Text("inbound-capture-port"),
                  "another port than --envoy-port");
  }
  capture.proxy_uids = reader.Uids("proxy-uid");
  if (capture.proxy_uids.empty()) {
    capture.proxy_uids = {FindUser(reader.Text("envoy-user")).value_or(pod::kProxyId)};
  }
  capture.proxy_gids = reader.Gids("proxy-gid");
  if (capture.proxy_gids.empty()) capture.proxy_gids = capture.proxy_uids;
}

void ReadInbound(const SettingReader& reader, CaptureConfig& capture) {
  // The reference tool takes anything but TPROXY as REDIRECT, including the empty value.
  capture.mode = reader.OneOf<InterceptionMode>("istio-inbound-interception-mode",
                                                {{"REDIRECT", InterceptionMode::kRedirect},
                                                 {"TPROXY", InterceptionMode::kTproxy},
                                                 {"", InterceptionMode::kRedirect}},
                                                "REDIRECT or TPROXY");
  capture.tproxy_mark = reader.Number("istio-inbound-tproxy-mark", 1, 0xffffffff);
  if (capture.tproxy_mark == pod::kOutboundMark) {
    reader.Refuse("istio-inbound-tproxy-mark", reader.Text("istio-inbound-tproxy-mark"),
                  "another mark than 1338, which marks outbound connections");
  }
  // 253 to 255 are the kernel's own tables (default, main, local), 0 is none.
  capture.tproxy_route_table =
      reader.Value("istio-inbound-tproxy-route-table", [](std::string_view text) {
        const auto table = ParseNumber(Trim(text), 1, 0xffffffff);
        if (table >= 253 && table <= 255) {
          throw std::invalid_argument("a routing table of your own, not 253, 254 or 255");
        }
        return static_cast<std::uint32_t>(table);
      });
  capture.inbound_ports.all = reader.IsAll("istio-inbound-ports");
  if (!capture.inbound_ports.all) capture.inbound_ports.ports = reader.Ports("istio-inbound-ports");
  capture.inbound_exclude_ports = reader.Ports("istio-local-exclude-ports");
  capture.inbound_exclude_ranges = reader.Ranges("istio-inbound-exclude-cidr");
  capture.capture_listening = reader.Bool("capture-listening");
  if (capture.capture_listening && capture.mode == InterceptionMode::kTproxy) {
    reader.Refuse(
        "capture-listening", reader.Text("capture-listening"),
        "false in TPROXY mode, which can hand over a packet or drop it, but refuses none; "
        "or --istio-inbound-interception-mode=REDIRECT");
  }
}

void ReadOutbound(const SettingReader& reader, CaptureConfig& capture) {
  capture.outbound_ranges.all = reader.IsAll("istio-service-cidr");
  if (!capture.outbound_ranges.all) {
    capture.outbound_ranges.ranges = reader.Ranges("istio-service-cidr");
  }
  if (reader.IsAll("istio-service-exclude-cidr")) {
    reader.Refuse("istio-service-exclude-cidr", "*",
                  "ranges; to capture no outbound traffic leave --istio-service-cidr empty");
  }
  capture.outbound_exclude_ranges = reader.Ranges("istio-service-exclude-cidr");
  capture.outbound_ports = reader.Ports("istio-outbound-ports");
  capture.outbound_exclude_ports = reader.Ports("istio-local-outbound-ports-exclude");
  capture.loopback_range =
      reader.Value("istio-outbound-ipv4-loopback-cidr", [](std::string_view text) {
        const Cidr range = Cidr::Parse(Trim(text));
        if (range.family() != Family::kIpv4 || !range.address().IsLoopback() ||
            range.prefix_length() < 8) {
          throw std::invalid_argument("a range inside 127.0.0.0/8");
        }
        return range;
      });
}

void ReadOwners(const SettingReader& reader, CaptureConfig& capture) {
  capture.exclude_uids = reader.Uids("exclude-uids");
  capture.exclude_gids = reader.Gids("exclude-gids");
  const auto refuse_own = [&reader](std::string_view name, const auto& excluded, const auto& own) {
    for (const std::uint32_t id : excluded) {
      if (std::ranges::find(own, id) == own.end()) continue;
      reader.Refuse(name, std::to_string(id),
                    "ids other than the proxy's, which is never captured");
    }
  };
  refuse_own("exclude-uids", capture.exclude_uids, capture.proxy_uids);
  refuse_own("exclude-gids", capture.exclude_gids, capture.proxy_gids);
  if (!reader.IsAll("istio-outbound-owner-groups")) {
    capture.owner_groups = reader.Gids("istio-outbound-owner-groups");
  }
  capture.owner_groups_exclude = reader.Gids("istio-outbound-owner-groups-exclude");
  if (capture.owner_groups && !capture.owner_groups_exclude.empty()) {
    reader.Refuse("istio-outbound-owner-groups-exclude",
                  reader.Text("istio-outbound-owner-groups-exclude"),
                  "nothing, since --istio-outbound-owner-groups is given too");
  }
}

void ReadInterfaces(const SettingReader& reader, CaptureConfig& capture) {
  capture.exclude_interfaces = reader.Interfaces("istio-exclude-interfaces");
  capture.include_interfaces = reader.Interfaces("include-interfaces");
  capture.virt_interfaces = reader.Interfaces("kube-virt-interfaces");
}

void ReadGraphFile(const SettingReader& reader, GraphConfig& graph) {
  graph.file = reader.Text("file");
  if (reader.Text("every").empty()) return;
  graph.every = reader.Value("every", [](std::string_view text) {
    const auto value = ParseDuration(Trim(text), kLongestDuration);
    if (value.count() == 0) throw std::invalid_argument("a duration longer than 0, such as 5s");
    return value;
  });
  if (graph.file.empty()) {
    reader.Refuse("every", reader.Text("every"), "a --file as well, to write again");
  }
}

void ReadOutput(const SettingReader& reader, Command command, InitConfig& config) {
  if (command == Command::kGraph) {
    config.graph.format = reader.OneOf<GraphFormat>("output",
                                                    {{"mermaid", GraphFormat::kMermaid},
                                                     {"text", GraphFormat::kMermaid},
                                                     {"dot", GraphFormat::kDot},
                                                     {"svg", GraphFormat::kSvg}},
                                                    "mermaid, dot or svg");
    ReadGraphFile(reader, config.graph);
  } else {
    config.json_output =
        reader.OneOf<bool>("output", {{"text", false}, {"json", true}}, "text or json");
  }
}

void ReadTrace(const SettingReader& reader, TraceConfig& trace) {
  if (!reader.Text("duration").empty()) {
    trace.duration = reader.Duration("duration", kLongestDuration);
  }
  trace.count = reader.Number("count", 0, 1'000'000'000);
  trace.uids = reader.Uids("from-uid");
  trace.ports = reader.Ports("port");
  trace.ranges = reader.Ranges("address");
}

Ipv6Mode ReadIpv6(const SettingReader& reader) {
  const auto mode = reader.OneOf<Ipv6Mode>(
      "ipv6", {{"auto", Ipv6Mode::kAuto}, {"on", Ipv6Mode::kOn}, {"off", Ipv6Mode::kOff}},
      "auto, on or off");
  if (!reader.Bool("dual-stack")) return mode;
  if (mode == Ipv6Mode::kOff) {
    reader.Refuse("ipv6", "off",
                  "auto or on, since " + reader.Origin("dual-stack") + " asks for IPv6");
  }
  return Ipv6Mode::kOn;
}

// --backend; if it is not given, istio-iptables' equivalents.
void ReadBackend(const SettingReader& reader, InitConfig& config) {
  using enum BackendChoice;
  const auto take = [&](BackendChoice choice, std::string_view name) {
    if (choice == kAuto || config.backend != kAuto) return;
    config.backend = choice;
    config.backend_origin = reader.Origin(name);
  };
  take(reader.OneOf<BackendChoice>(
           "backend", {{"auto", kAuto}, {"iptables", kIptables}, {"nftables", kNftables}},
           "auto, iptables or nftables"),
       "backend");
  take(reader.Bool("native-nftables") ? kNftables : kAuto, "native-nftables");
  take(reader.OneOf<BackendChoice>("force-iptables-binary",
                                   {{"", kAuto},
                                    {"legacy", kIptables},
                                    {"iptables-legacy", kIptables},
                                    {"nft", kNftables},
                                    {"iptables-nft", kNftables}},
                                   "legacy or nft"),
       "force-iptables-binary");
  take(reader.Bool("force-legacy-iptables") ? kIptables : kAuto, "force-legacy-iptables");
}

}  // namespace

LogLevel ParseLogLevel(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, LogLevel>, 6> kLevels = {
      {{"debug", LogLevel::kInfo},  // there is no lower level
       {"info", LogLevel::kInfo},
       {"warn", LogLevel::kWarning},
       {"error", LogLevel::kError},
       {"fatal", LogLevel::kError},  // errors here end the run
       {"none", LogLevel::kNone}}};
  std::optional<LogLevel> of_default;
  std::optional<LogLevel> of_all;
  for (const std::string_view item : SplitList(text)) {
    const std::size_t colon = item.find(':');
    const std::string_view scope = colon == item.npos ? "default" : item.substr(0, colon);
    const std::string_view name = colon == item.npos ? item : item.substr(colon + 1);
    const auto level =
        std::ranges::find(kLevels, name, [](const auto& entry) { return entry.first; });
    if (level == kLevels.end() || scope.empty()) {
      throw std::invalid_argument(
          "debug, info, warn, error, fatal or none, or a list such as default:info");
    }
    if (scope == "default") of_default = level->second;
    if (scope == "all") of_all = level->second;
  }
  return of_default.value_or(of_all.value_or(LogLevel::kInfo));
}

InitConfig ToInitConfig(const Settings& settings) {
  const SettingReader reader(settings);
  InitConfig config;
  CaptureConfig& capture = config.capture;
  ReadProxy(reader, capture);
  ReadInbound(reader, capture);
  ReadOutbound(reader, capture);
  ReadOwners(reader, capture);
  ReadInterfaces(reader, capture);
  capture.redirect_dns = reader.Bool("redirect-dns");
  capture.capture_all_dns = reader.Bool("capture-all-dns");
  capture.drop_invalid = reader.Bool("drop-invalid");

  config.ipv6 = ReadIpv6(reader);
  config.lock_wait = reader.Duration("wait", kLongestWait);
  config.log_format = reader.OneOf<LogFormat>(
      "log-format", {{"text", LogFormat::kText}, {"json", LogFormat::kJson}}, "text or json");
  if (reader.Bool("log_as_json")) config.log_format = LogFormat::kJson;
  config.log_level = reader.Value("log_output_level", ParseLogLevel);
  ReadOutput(reader, settings.command, config);
  config.only_nonzero = reader.Bool("nonzero");
  config.network_namespace = settings.Text("network-namespace");
  config.probe_timeout = reader.Duration("probe-timeout", kLongestDuration);
  config.probe_port = reader.Port("iptables-probe-port");
  config.dry_run = reader.Bool("dry-run");
  config.cleanup_only = reader.Bool("cleanup-only") || reader.Bool("clean");
  config.force_apply = reader.Bool("force-apply");
  config.skip_rule_apply = reader.Bool("skip-rule-apply");
  config.run_validation = reader.Bool("run-validation");
  config.rollback_on_failed_validation = reader.Bool("rollback-on-failed-validation");
  reader.Bool("reconcile");
  reader.Bool("cni-mode");
  ReadBackend(reader, config);
  config.explain = {.to = settings.Text("to"),
                    .from = settings.Text("from"),
                    .from_uid = settings.Text("from-uid"),
                    .from_gid = settings.Text("from-gid"),
                    .in_interface = settings.Text("in-interface"),
                    .proto = settings.Text("proto"),
                    .mark = settings.Text("mark"),
                    .ctstate = settings.Text("ctstate")};
  if (settings.command == Command::kTrace) ReadTrace(reader, config.trace);
  config.planned = reader.Bool("planned");
  config.batch = settings.Text("batch");
  config.warnings = settings.warnings;
  config.notes = settings.notes;
  if (!reader.Bool("restore-format")) {
    config.notes.push_back(reader.Origin("restore-format") +
                           " is ignored when false: --dry-run prints what iptables-restore takes, "
                           "and nothing else");
  }
  AddWarnings(settings, config);
  return config;
}

}  // namespace sluice::capture
