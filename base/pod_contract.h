// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <cstdint>

#include "base/ip_address.h"

// Values that the programs must agree on and that a service mesh expects: those of Istio. Ports and
// marks are in host byte order.
namespace sluice::pod {

// Where captured connections go, and who listens there.
inline constexpr std::uint16_t kOutboundPort = 15001;
inline constexpr std::uint16_t kInboundPort = 15006;
// Not captured: clients connect to the proxy directly (HBONE).
inline constexpr std::uint16_t kTunnelPort = 15008;
inline constexpr std::uint16_t kDnsPort = 15053;
inline constexpr std::uint16_t kAdminPort = 15000;
inline constexpr std::uint16_t kStatusPort = 15020;
inline constexpr std::uint16_t kMetricsPort = 15090;
// Where validation listens in place of the application.
inline constexpr std::uint16_t kProbePort = 15002;
// Where connections go that are to be refused: no socket can have this port, so that the kernel
// answers with a reset, and nobody can get them by listening.
inline constexpr std::uint16_t kRefusedPort = 0;

// The proxy's user and group, whose own traffic is not captured.
inline constexpr std::uint32_t kProxyId = 1337;

// TPROXY mode: the mark of a captured connection, by which it is routed to the proxy, and the mark
// of the proxy's calls to its own pod, which are captured as inbound.
inline constexpr std::uint32_t kTproxyMark = 1337;
inline constexpr std::uint32_t kOutboundMark = 1338;
inline constexpr std::uint32_t kTproxyRouteTable = 133;

// The source address of the proxy's connections to the application, which tells them from others:
// 127.0.0.6 or ::6, Istio's InboundPassthroughBindIpv4 and -Ipv6.
inline IpAddress PassthroughSource(Family family) {
  constexpr std::array<std::uint8_t, 16> kV6 = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6};
  return family == Family::kIpv4 ? IpAddress::V4(127, 0, 0, 6) : IpAddress::FromBytes(kV6);
}

// The socket option with the original destination of a redirected connection: SO_ORIGINAL_DST in
// linux/netfilter_ipv4.h at level SOL_IP, IP6T_SO_ORIGINAL_DST in linux/netfilter_ipv6/ip6_tables.h
// at SOL_IPV6. C++ cannot include those headers together with netinet/in.h.
inline constexpr int kOriginalDestinationOption = 80;

}  // namespace sluice::pod
