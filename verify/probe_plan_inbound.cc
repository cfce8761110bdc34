// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Probes of clients outside that call the pod.
#include <optional>
#include <string>
#include <vector>

#include "verify/probe_pick.h"
#include "verify/probe_planner.h"

namespace sluice::verify {

// Adds a client outside that calls the pod.
void ProbePlanner::AddInboundTo(const std::string& path, Landing expected,
                                std::optional<std::uint16_t> port) {
  Probe& probe = Add(path, expected, {site_.pod, port.value_or(0)});
  probe.client = client_;
  if (!port) probe.obstacle = "every such port is one of the proxy's own";
  if (!client_) probe.obstacle = "no source address is free for a client to be captured";
}

void ProbePlanner::AddInbound() {
  if (config_.inbound_ports.empty()) return;
  const auto add = [this](const std::string& path, std::optional<std::uint16_t> port) {
    AddInboundTo(path, Landing::kInbound, port);
    probes_.back().needs_application = config_.capture_listening;
  };
  if (config_.inbound_ports.all) add("inbound", inbound_port_);
  for (const PortRange& ports : Sample(config_.inbound_ports.ports)) {
    add("inbound port " + ports.ToString(), PickPort({ports}, proxy_ports_, site_.probe_port));
  }
  if (config_.capture_listening) {
    AddInboundTo("inbound where nobody listens", Landing::kRefused, inbound_port_);
  }
}

void ProbePlanner::AddInboundExempt() {
  if (config_.inbound_ports.empty()) return;
  // TPROXY does not exempt it, as in istio-iptables.
  if (config_.mode == capture::InterceptionMode::kRedirect) {
    AddInboundTo("exempt: tunnel port " + std::to_string(config_.tunnel_port), Landing::kDirect,
                 config_.tunnel_port);
  }
  std::vector<PortRange> captured_by_others = proxy_ports_;
  if (config_.inbound_ports.all) {
    for (const PortRange& ports : Sample(config_.inbound_exclude_ports)) {
      AddInboundTo("exempt: inbound port " + ports.ToString(), Landing::kDirect,
                   PickPort({ports}, proxy_ports_, site_.probe_port));
    }
  } else {
    Append(captured_by_others, config_.inbound_ports.ports);
    AddInboundTo("exempt: inbound port not listed", Landing::kDirect,
                 PickPort({kAllPorts}, captured_by_others, site_.probe_port));
  }
  for (const Cidr& range : Sample(OfFamily(config_.inbound_exclude_ranges))) {
    AddInboundTo("exempt: inbound from " + range.ToString(), Landing::kDirect, inbound_port_);
    Probe& probe = probes_.back();
    if (probe.obstacle.empty() || !client_) {
      probe.client = PickAddress({range}, blocked_);
      probe.obstacle = probe.client ? "" : "no address of the range is free for a client";
    }
  }
}

}  // namespace sluice::verify
