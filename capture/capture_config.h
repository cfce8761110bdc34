// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/cidr.h"
#include "base/ip_address.h"
#include "base/pod_contract.h"
#include "base/port_range.h"

namespace sluice::capture {

enum class InterceptionMode { kRedirect, kTproxy };

// Inbound ports to capture: all of them ("*"), or those listed. An empty list captures none.
struct PortSelection {
  bool all = false;
  std::vector<PortRange> ports;

  bool empty() const { return !all && ports.empty(); }
};

// Outbound destinations to capture: all of them ("*"), or those listed. Both families in one list.
struct RangeSelection {
  bool all = false;
  std::vector<Cidr> ranges;
};

// What to capture: istio-iptables' flags as plain values. The caller has validated it
// (cmd/sluice-init does); BuildRules does not check it. Ports and marks are in host byte order. The
// comment after a member is the flag it comes from.
struct CaptureConfig {
  // Where captured connections go.
  std::uint16_t outbound_port = pod::kOutboundPort;  // --envoy-port
  std::uint16_t inbound_port = pod::kInboundPort;    // --inbound-capture-port
  std::uint16_t tunnel_port =
      pod::kTunnelPort;                    // --inbound-tunnel-port: clients connect to the proxy
  std::uint16_t dns_port = pod::kDnsPort;  // the port of Istio's agent: no flag there either

  // The owners of the proxy's own traffic, which is never captured outbound. At least one of them.
  std::vector<std::uint32_t> proxy_uids = {pod::kProxyId};  // --proxy-uid
  std::vector<std::uint32_t> proxy_gids = {pod::kProxyId};  // --proxy-gid

  // Inbound.
  InterceptionMode mode = InterceptionMode::kRedirect;        // --istio-inbound-interception-mode
  std::uint32_t tproxy_mark = pod::kTproxyMark;               // --istio-inbound-tproxy-mark
  std::uint32_t tproxy_route_table = pod::kTproxyRouteTable;  // --istio-inbound-tproxy-route-table
  PortSelection inbound_ports;                                // --istio-inbound-ports
  std::vector<PortRange> inbound_exclude_ports;  // --istio-local-exclude-ports; only with all ports
  std::vector<Cidr> inbound_exclude_ranges;      // --istio-inbound-exclude-cidr: sources
  bool capture_listening = false;                // --capture-listening; only with kRedirect

  // Outbound.
  RangeSelection outbound_ranges;                 // --istio-service-cidr
  std::vector<Cidr> outbound_exclude_ranges;      // --istio-service-exclude-cidr
  std::vector<PortRange> outbound_ports;          // --istio-outbound-ports
  std::vector<PortRange> outbound_exclude_ports;  // --istio-local-outbound-ports-exclude
  std::vector<std::uint32_t> exclude_uids;        // --exclude-uids
  std::vector<std::uint32_t> exclude_gids;        // --exclude-gids
  // When set, only these groups' outbound traffic is captured.
  std::optional<std::vector<std::uint32_t>> owner_groups;  // --istio-outbound-owner-groups
  std::vector<std::uint32_t> owner_groups_exclude;         // --istio-outbound-owner-groups-exclude
  Cidr loopback_range =
      Cidr(IpAddress::V4(127, 0, 0, 1), 32);  // --istio-outbound-ipv4-loopback-cidr

  // Interfaces. A trailing '+' matches any ending, as in iptables(8).
  std::vector<std::string> exclude_interfaces;  // --istio-exclude-interfaces
  std::vector<std::string> include_interfaces;  // --include-interfaces; empty: all of them
  std::vector<std::string> virt_interfaces;     // --kube-virt-interfaces: all is outbound

  // DNS.
  bool redirect_dns = false;           // --redirect-dns
  bool capture_all_dns = false;        // --capture-all-dns: to any resolver
  std::vector<IpAddress> dns_servers;  // from /etc/resolv.conf, when not all

  bool drop_invalid = false;  // --drop-invalid
  bool ipv6 = false;          // whether there are any IPv6 rules
};

}  // namespace sluice::capture
