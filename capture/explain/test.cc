// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/explain/test.h"

#include <linux/rtnetlink.h>

#include <algorithm>

#include "base/interface_pattern.h"

namespace sluice::capture::explain {
namespace {

Meets Known(bool holds) { return holds ? Meets::kYes : Meets::kNo; }

// linux/tcp.h: a connection's first packet has this flag only.
constexpr std::uint8_t kSyn = 0x02;
// ip_local_port_range, by default.
constexpr PortRange kEphemeral{32768, 60999};

struct Tester {
  const Traveller& packet;
  Host& host;

  Meets operator()(const AddressTest& test) const {
    const IpAddress& address = test.of_source ? packet.source : packet.destination;
    const bool in = std::ranges::any_of(
        test.ranges, [&address](const Cidr& range) { return range.Contains(address); });
    return Known(in != test.negated);
  }
  Meets operator()(const InterfaceTest& test) const {
    const std::string& name = test.in ? packet.in_interface : packet.out_interface;
    return Known(MatchesInterface(test.pattern, name) != test.negated);
  }
  Meets operator()(const ProtocolTest& test) const {
    return Known((static_cast<std::uint8_t>(packet.protocol) == test.protocol) != test.negated);
  }
  Meets operator()(const PortTest& test) const {
    const auto in = [&test](std::uint16_t port) {
      return std::ranges::any_of(test.ranges,
                                 [port](const PortRange& range) { return range.Contains(port); });
    };
    const bool destination = in(packet.destination_port);
    Meets meets = Known(destination);
    if (test.of != PortTest::Of::kDestination) {
      Meets source = Known(in(packet.source_port));
      if (!packet.source_port_known) {
        // Any port from which the kernel chooses.
        const auto overlaps = [](const PortRange& range) {
          return range.first <= kEphemeral.last && kEphemeral.first <= range.last;
        };
        const auto covers = [](const PortRange& range) { return range.Contains(kEphemeral); };
        source = Meets::kNo;
        if (std::ranges::any_of(test.ranges, overlaps)) source = Meets::kUnknown;
        if (std::ranges::any_of(test.ranges, covers)) source = Meets::kYes;
      }
      meets = test.of == PortTest::Of::kEither && destination ? Meets::kYes : source;
    }
    return Turned(meets, test.negated);
  }
  Meets operator()(const OwnerTest& test) const {
    if (!packet.has_socket) return Known(test.negated);
    const auto& id = test.of_group ? packet.gid : packet.uid;
    if (!id) return Meets::kUnknown;
    return Known((*id >= test.first && *id <= test.last) != test.negated);
  }
  Meets operator()(const HasOwnerTest& test) const {
    return Known(packet.has_socket != test.negated);
  }
  Meets operator()(const SocketTest& test) const {
    return Turned(HasTaker(packet, host), test.negated);
  }
  Meets operator()(const MarkTest& test) const {
    // xt_connmark.c: without a connection it never matches, negated or not.
    if (test.of_connection && (!packet.tracked || packet.untracked)) return Meets::kNo;
    if (test.of_connection && !packet.connmark_known) return Meets::kUnknown;
    const std::uint32_t mark = test.of_connection ? packet.connmark : packet.mark;
    const std::uint32_t known = test.of_connection ? packet.connmark_bits : packet.mark_known;
    if ((((mark ^ test.mark.value) & test.mark.mask & known) == 0) &&
        (test.mark.mask & ~known) != 0) {
      return Meets::kUnknown;
    }
    return Known(((mark & test.mark.mask) == test.mark.value) != test.negated);
  }
  Meets operator()(const StateTest& test) const {
    // xt_conntrack.c: a packet that conntrack has not seen is INVALID.
    std::uint16_t state = packet.tracked ? packet.state : std::uint16_t{kStateInvalid};
    if (packet.untracked) state = kStateUntracked;
    const int changed =
        (packet.changed_destination ? kStateDnat : 0) | (packet.changed_source ? kStateSnat : 0);
    state = static_cast<std::uint16_t>(state | changed);
    return Known(((state & test.states) != 0) != test.negated);
  }
  Meets operator()(const TcpFlagsTest& test) const {
    if (packet.protocol != Protocol::kTcp) return Meets::kNo;
    if (packet.state != kStateNew) return Meets::kUnknown;
    return Known(((kSyn & test.mask) == test.set) != test.negated);
  }
  Meets operator()(const AddressTypeTest& test) const {
    const IpAddress& address = test.of_source ? packet.source : packet.destination;
    if (address.IsUnspecified()) return Meets::kUnknown;
    using Kind = RouteAnswer::Kind;
    const auto has = [&test](int type) { return (test.types >> type & 1) != 0; };
    switch (host.Route({.to = address}).kind) {
      case Kind::kLocal:
        return Turned(Known(has(RTN_LOCAL)), test.negated);
      case Kind::kForward:
        return Turned(Known(has(RTN_UNICAST)), test.negated);
      case Kind::kBroadcast:
        return Turned(Known(has(RTN_BROADCAST) || has(RTN_MULTICAST)), test.negated);
      case Kind::kNone:
        // inet_addr_type() consults only the local table.
        return Turned(Known(has(address.is_v4() ? RTN_UNICAST : RTN_UNREACHABLE)), test.negated);
      default:
        return Meets::kUnknown;
    }
  }
  Meets operator()(const NeverTest&) const { return Meets::kNo; }
  Meets operator()(const UnknownTest&) const { return Meets::kUnknown; }
};

}  // namespace

Meets Turned(Meets meets, bool negated) {
  if (meets == Meets::kUnknown || !negated) return meets;
  return meets == Meets::kYes ? Meets::kNo : Meets::kYes;
}

Meets HasTaker(const Traveller& packet, Host& host) {
  if (packet.state != kStateNew) return Meets::kUnknown;
  const auto takes = host.Takes({.to = {packet.destination, packet.destination_port},
                                 .protocol = packet.protocol,
                                 .in_interface = packet.in_interface});
  return takes ? Known(*takes) : Meets::kUnknown;
}

Meets MeetsAll(const ModelRule& rule, const Traveller& packet, Host& host) {
  Meets all = Meets::kYes;
  for (const Test& test : rule.tests) {
    const Meets meets = std::visit(Tester{packet, host}, test);
    if (meets == Meets::kNo) return Meets::kNo;
    if (meets == Meets::kUnknown) all = Meets::kUnknown;
  }
  return all;
}

}  // namespace sluice::capture::explain
