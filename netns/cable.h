// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

#include "base/ip_address.h"
#include "netns/namespace.h"
#include "netns/route_values.h"

// Building blocks of the networks in tests and scripts/pod. All throw sluice::Error, as RouteSocket
// does, and need CAP_SYS_ADMIN and CAP_NET_ADMIN.
namespace sluice::netns {

// One end of a cable: the device's name in `where`, and its addresses.
struct CableEnd {
  const Namespace* where = nullptr;
  std::string device;
  std::vector<InterfaceAddress> addresses = {};
};

// Sets lo up, and turns duplicate address detection off for future devices: it would keep IPv6
// addresses unusable for a second.
void PrepareNamespace(const Namespace& where);

// Connects two namespaces by a veth pair, with both ends up and addresses assigned. On return it is
// ready for connections of the families that its devices have. That takes milliseconds if both were
// prepared as above, otherwise as long as duplicate address detection.
void AddCable(const CableEnd& one, const CableEnd& other);

// Adds the default route of the gateway's family.
void AddDefaultRoute(const Namespace& where, const IpAddress& gateway);

// Lets `where` forward packets, and choose the next hop of a multipath route by address and port;
// by default all connections between two addresses take the same path.
void MakeRouter(const Namespace& where);

}  // namespace sluice::netns
