// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/settings/effective.h"

#include <functional>
#include <map>

#include <boost/json/object.hpp>

#include "base/text/pretty_json.h"
#include "capture/settings/option_table.h"

namespace sluice::capture {
namespace {

std::string Join(const auto& items, auto to_text) {
  std::string out;
  for (const auto& item : items) out += (out.empty() ? "" : ",") + to_text(item);
  return out;
}

std::string Ids(const std::vector<std::uint32_t>& ids) {
  return Join(ids, [](std::uint32_t id) { return std::to_string(id); });
}

std::string Texts(const auto& items) {
  return Join(items, [](const auto& item) { return item.ToString(); });
}

std::string Duration(std::chrono::milliseconds duration) {
  const auto count = duration.count();
  return count % 1000 == 0 ? std::to_string(count / 1000) + "s" : std::to_string(count) + "ms";
}

std::string Ipv6(Ipv6Mode mode) {
  if (mode == Ipv6Mode::kAuto) return "auto";
  return mode == Ipv6Mode::kOn ? "on" : "off";
}

std::string BackendName(BackendChoice choice, IptablesBuild iptables) {
  const bool both = iptables == IptablesBuild::kIn;
  switch (choice) {
    case BackendChoice::kIptables:
      return both ? "iptables" : "iptables, which is not in this build: refused";
    case BackendChoice::kNftables:
      return "nftables";
    case BackendChoice::kAuto:
      break;
  }
  return both ? "auto" : "nftables: iptables is not in this build";
}

// For settings whose meaning depends on more than their text.
using Meaning = std::function<std::string(const InitConfig&)>;
const std::map<std::string_view, Meaning>& Meanings() {
  using Config = const InitConfig&;
  static const std::map<std::string_view, Meaning> meanings = {
      {"envoy-port", [](Config c) { return std::to_string(c.capture.outbound_port); }},
      {"inbound-capture-port", [](Config c) { return std::to_string(c.capture.inbound_port); }},
      {"inbound-tunnel-port", [](Config c) { return std::to_string(c.capture.tunnel_port); }},
      {"proxy-uid", [](Config c) { return Ids(c.capture.proxy_uids); }},
      {"proxy-gid", [](Config c) { return Ids(c.capture.proxy_gids); }},
      {"exclude-uids", [](Config c) { return Ids(c.capture.exclude_uids); }},
      {"exclude-gids", [](Config c) { return Ids(c.capture.exclude_gids); }},
      {"istio-outbound-owner-groups",
       [](Config c) { return c.capture.owner_groups ? Ids(*c.capture.owner_groups) : "*"; }},
      {"istio-outbound-owner-groups-exclude",
       [](Config c) { return Ids(c.capture.owner_groups_exclude); }},
      {"istio-inbound-interception-mode",
       [](Config c) {
         return std::string(c.capture.mode == InterceptionMode::kTproxy ? "TPROXY" : "REDIRECT");
       }},
      {"istio-inbound-tproxy-mark", [](Config c) { return std::to_string(c.capture.tproxy_mark); }},
      {"istio-inbound-tproxy-route-table",
       [](Config c) { return std::to_string(c.capture.tproxy_route_table); }},
      {"istio-inbound-ports",
       [](Config c) {
         return c.capture.inbound_ports.all ? "*" : Texts(c.capture.inbound_ports.ports);
       }},
      {"istio-local-exclude-ports",
       [](Config c) { return Texts(c.capture.inbound_exclude_ports); }},
      {"istio-inbound-exclude-cidr",
       [](Config c) { return Texts(c.capture.inbound_exclude_ranges); }},
      {"istio-service-cidr",
       [](Config c) {
         return c.capture.outbound_ranges.all ? "*" : Texts(c.capture.outbound_ranges.ranges);
       }},
      {"istio-service-exclude-cidr",
       [](Config c) { return Texts(c.capture.outbound_exclude_ranges); }},
      {"istio-outbound-ports", [](Config c) { return Texts(c.capture.outbound_ports); }},
      {"istio-local-outbound-ports-exclude",
       [](Config c) { return Texts(c.capture.outbound_exclude_ports); }},
      {"istio-outbound-ipv4-loopback-cidr",
       [](Config c) { return c.capture.loopback_range.ToString(); }},
      {"ipv6", [](Config c) { return Ipv6(c.ipv6); }},
      {"dual-stack",
       [](Config c) { return std::string(c.ipv6 == Ipv6Mode::kOn ? "true" : "false"); }},
      {"wait", [](Config c) { return Duration(c.lock_wait); }},
      {"probe-timeout", [](Config c) { return Duration(c.probe_timeout); }},
      {"iptables-probe-port", [](Config c) { return std::to_string(c.probe_port); }},
      {"cleanup-only", [](Config c) { return std::string(c.cleanup_only ? "true" : "false"); }},
      {"log-format",
       [](Config c) { return std::string(c.log_format == LogFormat::kJson ? "json" : "text"); }},
  };
  return meanings;
}

}  // namespace

std::string DescribeSettings(const Settings& settings, const InitConfig& config,
                             IptablesBuild iptables) {
  boost::json::object out;
  for (const OptionSpec& option : Options()) {
    const Setting& setting = settings.Get(option.name);
    std::string effective = setting.value;
    const auto meaning = Meanings().find(option.name);
    if (option.name == "backend") {
      effective = BackendName(config.backend, iptables);
    } else if (meaning != Meanings().end()) {
      effective = meaning->second(config);
    } else if (option.kind == OptionKind::kBool) {
      effective = settings.Bool(option.name) ? "true" : "false";
    }
    out[option.name] = {{"value", setting.value},
                        {"origin", setting.is_default() ? "default" : setting.origin},
                        {"effective", effective}};
  }
  return PrettyJson(out);
}

}  // namespace sluice::capture
