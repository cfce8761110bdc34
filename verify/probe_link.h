// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "capture/transaction.h"
#include "netns/network_state.h"
#include "netns/route_socket.h"
#include "verify/packet_frame.h"
#include "verify/probe_pick.h"

// A veth pair whose both ends are in this network namespace: the pod's end has addresses and
// routes, the other one is where the outside world is played, frame by frame. What passes it never
// leaves the pod, and what comes in by it comes in like any client's packet.
namespace sluice::verify {

// Throws sluice::Error. Needs CAP_NET_ADMIN and CAP_NET_RAW. The link goes with this object; one
// that a killed run left is removed first.
class ProbeLink {
 public:
  ProbeLink(netns::RouteSocket& socket, InterfaceNames names);
  ProbeLink(const ProbeLink&) = delete;
  ProbeLink& operator=(const ProbeLink&) = delete;
  ~ProbeLink();

  const InterfaceNames& names() const { return names_; }

  // Gives the pod's end an address, usable at once. kKernelFeature without that family.
  void AddAddress(const IpAddress& address);

  // Makes `address` be behind the link: a host route, and a station that is taken for it. False
  // when the pod has a host route of its own to it, so that it cannot be.
  bool Reach(const IpAddress& address);

  // To the pod, from outside.
  void Send(const Segment& segment);
  // From the pod: the next segment that came; nothing when there is none (yet).
  std::optional<Segment> Receive();
  // Readable when there may be one.
  int fd() const { return packets_.get(); }

 private:
  netns::RouteSocket& socket_;
  InterfaceNames names_;
  UniqueFd packets_;
  MacAddress pod_mac_{};
  std::vector<IpAddress> reached_;
};

// Whether there may be one. Costs next to nothing, because the addresses are wanted anyway: a link
// with a name of its own (ChooseInterfaceNames) and without an address is not seen.
bool MayHaveProbeLink(netns::NetworkState& network);

// Removes every probe link that a killed run left. Returns how many there were.
int RemoveProbeLinks(netns::RouteSocket& socket);

// The same as a part of the clean-up. There is nothing to put back: a leftover is nobody's.
class ProbeLinkCleanupStep : public capture::Step {
 public:
  explicit ProbeLinkCleanupStep(netns::RouteSocket& socket) : socket_(socket) {}

  std::string Name() const override { return "probe link"; }
  bool Differs() override { return !Have().empty(); }
  std::vector<std::string> Have() override;
  std::vector<std::string> Want() override { return {}; }
  void Apply() override { RemoveProbeLinks(socket_); }
  void Undo() override {}
  std::string Summary() const override { return std::string(kNothing); }

 private:
  netns::RouteSocket& socket_;
};

}  // namespace sluice::verify
