// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/cidr.h"
#include "base/socket_address.h"
#include "capture/capture_config.h"
#include "capture/evaluate.h"
#include "capture/rule.h"

// What --run-validation has to try, so that every path which a configuration captures, and every
// one that it exempts, is walked. Pure: says what the configuration means in terms of connections,
// without looking at the rules that it becomes.
namespace sluice::verify {

// The uid and the gid that a socket belongs to, as xt_owner sees them.
struct Owner {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  friend bool operator==(const Owner&, const Owner&) = default;
};

// Where a connection is to end.
enum class Landing : std::uint8_t {
  kOutbound,  // the proxy's outbound listener
  kInbound,   // the proxy's inbound listener
  kDns,       // the agent's DNS listener
  kDirect,    // whoever listens at its destination
  kOutside,   // it leaves by the probe interface, unchanged
};

// One connection, or one datagram.
struct Probe {
  Family family = Family::kIpv4;
  std::string path = {};  // "outbound", "exempt: outbound port 22", ...
  Landing expected = Landing::kOutside;
  capture::Protocol protocol = capture::Protocol::kTcp;
  // From the outside world, whose part we play, at this address. Without: from a socket here.
  std::optional<IpAddress> client = {};
  // Of the socket, when it is one.
  Owner owner = {};
  std::optional<IpAddress> bind = {};
  // Port 0, with kDirect: any that is free.
  SocketAddress destination = {};
  // Why it cannot be tried; empty when it can.
  std::string obstacle = {};
};

// Where they run, for one family.
struct ProbeSite {
  // The interface by which outside is reached, and whether rules about interfaces let it be
  // captured: the pod's end of the probe link, or one of the pod's own.
  std::string interface;
  bool interface_captured = true;
  // Whether `interface` is the probe link. Without, nobody plays the outside.
  bool has_link = true;
  IpAddress pod;                 // its address
  std::vector<IpAddress> local;  // the pod's other addresses
  std::vector<Cidr> in_use;      // what cannot play the outside: those, gateways, broadcasts
  Owner self;                    // who we are: sockets of ours need no capability
  bool only_self = false;        // there is no capability to be anybody else
  std::uint16_t probe_port = 15002;
};

// At most this many entries of a list are tried, spread evenly over it: a list of thousands became
// a tree of chains, of which that walks every level.
inline constexpr std::size_t kProbesPerList = 32;

// For the family of `site.pod`.
std::vector<Probe> PlanProbes(const capture::CaptureConfig& config, const ProbeSite& site);

// Whether `address` is the pod's own, so that a connection of the pod to it passes lo.
bool IsLocal(const ProbeSite& site, const IpAddress& address);

// The first packet of a probe as rules see it, and the hook where they do.
struct ProbePacket {
  capture::Hook hook = capture::Hook::kOutput;
  capture::Packet packet;
};
ProbePacket PacketOf(const Probe& probe, const ProbeSite& site);

}  // namespace sluice::verify
