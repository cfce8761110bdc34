// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

#include "base/ip_address.h"
#include "netns/namespace.h"
#include "netns/route_values.h"

// Small steps of which the networks of tests and of scripts/pod are made. All throw sluice::Error,
// as RouteSocket does, and need CAP_SYS_ADMIN and CAP_NET_ADMIN.
namespace sluice::netns {

// One end of a cable: the device's name in `where`, and its addresses.
struct CableEnd {
  const Namespace* where = nullptr;
  std::string device;
  std::vector<InterfaceAddress> addresses = {};
};

// lo up, and duplicate address detection off for the devices to come: it would keep an IPv6 address
// from being used for a second.
void PrepareNamespace(const Namespace& where);

// Joins two namespaces by a veth pair, whose ends are up and have their addresses. Ready for
// connections of both families when it returns, which takes milliseconds between namespaces that
// were prepared as above, and the time of duplicate address detection between others.
void AddCable(const CableEnd& one, const CableEnd& other);

// The default route of the gateway's family.
void AddDefaultRoute(const Namespace& where, const IpAddress& gateway);

// Lets `where` forward packets, and spread connections over the next hops of a multipath route by
// address and port; by default all connections between two addresses take the same way.
void MakeRouter(const Namespace& where);

}  // namespace sluice::netns
