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

// The probes of --run-validation: together they try every path that a configuration captures or
// exempts. Pure: derived from the meaning of the configuration, not from the rules that it is
// compiled to.
namespace sluice::verify {

// The uid and gid of a socket, as xt_owner sees them.
struct Owner {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  friend bool operator==(const Owner&, const Owner&) = default;
};

// Where a connection is expected to end.
enum class Landing : std::uint8_t {
  kOutbound,  // the proxy's outbound listener
  kInbound,   // the proxy's inbound listener
  kDns,       // the agent's DNS listener
  kDirect,    // the listener at its destination
  kOutside,   // leaves by the probe interface, unchanged
  kRefused,   // a reset, since nobody listens
};

// One connection, or one datagram.
struct Probe {
  Family family = Family::kIpv4;
  std::string path = {};  // "outbound", "exempt: outbound port 22", ...
  Landing expected = Landing::kOutside;
  capture::Protocol protocol = capture::Protocol::kTcp;
  // A simulated client outside with this address. If empty: a socket here.
  std::optional<IpAddress> client = {};
  // Of the socket, if it is one.
  Owner owner = {};
  std::optional<IpAddress> bind = {};
  // Port 0, with kDirect: any free port.
  SocketAddress destination = {};
  // Whether an application must listen at the destination, although it is not where it ends.
  bool needs_application = false;
  // Why it cannot be tried; empty if it can.
  std::string obstacle = {};
};

// Where the probes of one family run.
struct ProbeSite {
  // The interface to the outside, and whether the rules about interfaces allow capturing on it: the
  // pod's end of the probe link, or one of the pod's own interfaces.
  std::string interface;
  bool interface_captured = true;
  // Whether `interface` is the probe link. If not, nobody simulates the outside.
  bool has_link = true;
  IpAddress pod;                 // its address
  std::vector<IpAddress> local;  // the pod's other addresses
  std::vector<Cidr> in_use;      // not usable as outside: those, gateways, broadcasts
  Owner self;                    // our own ids: such sockets need no capability
  bool only_self = false;        // no capability to use other ids
  std::uint16_t probe_port = 15002;
};

// At most this many entries of a list are tried, evenly spaced: a list of thousands is compiled to
// a tree of chains, and these probes cover all its levels.
inline constexpr std::size_t kProbesPerList = 32;

// For the family of `site.pod`.
std::vector<Probe> PlanProbes(const capture::CaptureConfig& config, const ProbeSite& site);

// Whether `address` is the pod's own, so that connections from the pod go through lo.
bool IsLocal(const ProbeSite& site, const IpAddress& address);

// The first packet of a probe as the rules see it, and its hook.
struct ProbePacket {
  capture::Hook hook = capture::Hook::kOutput;
  capture::Packet packet;
};
ProbePacket PacketOf(const Probe& probe, const ProbeSite& site);

}  // namespace sluice::verify
