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

// A veth pair with both ends in this network namespace: the pod's end has addresses and routes, and
// at the other end the outside world is simulated frame by frame. Packets sent through it never
// leave the pod, and packets received from it look like any client's.
namespace sluice::verify {

// Throws sluice::Error. Needs CAP_NET_ADMIN and CAP_NET_RAW. The link is removed with this object;
// first removes one that a killed run left.
class ProbeLink {
 public:
  ProbeLink(netns::RouteSocket& socket, InterfaceNames names);
  ProbeLink(const ProbeLink&) = delete;
  ProbeLink& operator=(const ProbeLink&) = delete;
  ~ProbeLink();

  const InterfaceNames& names() const { return names_; }

  // Gives the pod's end an address, usable at once. kKernelFeature if the family is missing.
  void AddAddress(const IpAddress& address);

  // Makes `address` reachable through the link: a host route, and a neighbour entry. False if the
  // pod already has a host route to it.
  bool Reach(const IpAddress& address);

  // To the pod, from the outside.
  void Send(const Segment& segment);
  // From the pod: the next segment; nothing if there is none (yet).
  std::optional<Segment> Receive();
  // Readable when there may be a segment.
  int fd() const { return packets_.get(); }

 private:
  netns::RouteSocket& socket_;
  InterfaceNames names_;
  UniqueFd packets_;
  MacAddress pod_mac_{};
  std::vector<IpAddress> reached_;
};

// Whether there may be one. Nearly free, because the addresses are needed anyway. Misses a link
// with a special name (ChooseInterfaceNames) and without an address.
bool MayHaveProbeLink(netns::NetworkState& network);

// Removes every probe link that a killed run left. Returns how many there were.
int RemoveProbeLinks(netns::RouteSocket& socket);

// The same as a clean-up step. It needs no undo: nobody uses a leftover.
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
