// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>

#include "capture/capture_config.h"
#include "capture/rule.h"

namespace sluice::capture {

// 127.0.0.1/32 (or the configured range) and ::1/128: never captured.
Cidr LoopbackRange(const CaptureConfig& config, Family family);

// The marks of TPROXY mode. The mask has only the lowest bits that hold both values, so that other
// marks (Kubernetes uses 0x4000 and 0x8000) survive.
struct TproxyMarks {
  Mark inbound;   // a captured connection, in both directions; routed to the proxy
  Mark outbound;  // the proxy's call to its own pod, to be captured inbound: 1338 as in Istio
};
TproxyMarks MarksOf(const CaptureConfig& config);

// The policy: what istio-iptables would install for this configuration, without its faults (see
// docs/differences.md). Pure; depends only on its argument. The IPv6 half is empty unless
// config.ipv6.
RuleSet BuildRules(const CaptureConfig& config);

// What TPROXY needs besides the rules, in each captured family:
//   ip rule add fwmark MARK lookup TABLE priority PRIORITY
//   ip route add local default dev lo table TABLE
struct PolicyRouting {
  Mark mark;
  std::uint32_t route_table = 0;
  friend auto operator<=>(const PolicyRouting&, const PolicyRouting&) = default;
};
std::optional<PolicyRouting> BuildPolicyRouting(const CaptureConfig& config);

}  // namespace sluice::capture
