// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <cstdint>

#include "base/ip_address.h"

// What the programs must agree on, and a service mesh expects of them: the values of Istio. Ports
// and marks are in host byte order.
namespace sluice::pod {

// Where captured connections go, and who listens there.
inline constexpr std::uint16_t kOutboundPort = 15001;
inline constexpr std::uint16_t kInboundPort = 15006;
// Reaches the proxy by itself, and is not captured (HBONE).
inline constexpr std::uint16_t kTunnelPort = 15008;
inline constexpr std::uint16_t kDnsPort = 15053;
inline constexpr std::uint16_t kAdminPort = 15000;
inline constexpr std::uint16_t kStatusPort = 15020;
inline constexpr std::uint16_t kMetricsPort = 15090;
// Where validation listens while it plays the application.
inline constexpr std::uint16_t kProbePort = 15002;

// The proxy's user and group, whose own traffic is not captured.
inline constexpr std::uint32_t kProxyId = 1337;

// In TPROXY mode: the mark of a captured connection, which the rules lead to the proxy, and that of
// the proxy's call of its own pod, which is to be captured inbound.
inline constexpr std::uint32_t kTproxyMark = 1337;
inline constexpr std::uint32_t kOutboundMark = 1338;
inline constexpr std::uint32_t kTproxyRouteTable = 133;

// The source address by which the proxy's connections to the application are told from all others:
// 127.0.0.6 or ::6, Istio's InboundPassthroughBindIpv4 and -Ipv6.
inline IpAddress PassthroughSource(Family family) {
  constexpr std::array<std::uint8_t, 16> kV6 = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6};
  return family == Family::kIpv4 ? IpAddress::V4(127, 0, 0, 6) : IpAddress::FromBytes(kV6);
}

// The socket option that tells where a redirected connection was going: SO_ORIGINAL_DST of
// linux/netfilter_ipv4.h at level SOL_IP, IP6T_SO_ORIGINAL_DST of linux/netfilter_ipv6/ip6_tables.h
// at SOL_IPV6. C++ cannot include those headers beside netinet/in.h.
inline constexpr int kOriginalDestinationOption = 80;

}  // namespace sluice::pod
