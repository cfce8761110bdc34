// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

// Converts between our values and libnl's objects and messages. Private to netns: no public header
// includes this one.

#include <memory>
#include <optional>
#include <string>

#include <netlink/addr.h>
#include <netlink/msg.h>
#include <netlink/object.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/route.h>
#include <netlink/route/rule.h>

#include "netns/route_values.h"

namespace sluice::netns {

// Frees libnl's types, for std::unique_ptr.
struct NlDelete {
  void operator()(nl_msg* message) const { nlmsg_free(message); }
  void operator()(nl_object* object) const { nl_object_put(object); }
  void operator()(nl_addr* address) const { nl_addr_put(address); }
  void operator()(rtnl_addr* address) const { rtnl_addr_put(address); }
  void operator()(rtnl_link* link) const { rtnl_link_put(link); }
  void operator()(rtnl_neigh* neighbor) const { rtnl_neigh_put(neighbor); }
  void operator()(rtnl_route* route) const { rtnl_route_put(route); }
  void operator()(rtnl_rule* rule) const { rtnl_rule_put(rule); }
};
template <typename T>
using NlPtr = std::unique_ptr<T, NlDelete>;

// libnl returns null when out of memory; this throws std::bad_alloc then.
template <typename T>
NlPtr<T> Own(T* pointer) {
  if (pointer == nullptr) throw std::bad_alloc();
  return NlPtr<T>(pointer);
}

// AF_INET or AF_INET6.
int AddressFamily(Family family);

NlPtr<nl_addr> EncodeAddress(const IpAddress& ip, int prefix_length);
NlPtr<rtnl_addr> EncodeInterfaceAddress(int link_index, const InterfaceAddress& address);
NlPtr<rtnl_rule> EncodeRule(const PolicyRule& rule);
// A permanent entry: the kernel never asks for it.
NlPtr<rtnl_neigh> EncodeNeighbor(int link_index, const Neighbor& neighbor);
// `link_index` finds the index of a device; throws if there is none.
template <typename LinkIndex>
NlPtr<rtnl_route> EncodeRoute(const Route& route, LinkIndex link_index);

// Decode the kernel's messages. The caller fills in the links of addresses and routes, because it
// knows the names.
Link DecodeLink(rtnl_link* link);
AddressEntry DecodeAddress(rtnl_addr* address);
// `link_name` returns the name for an index.
template <typename LinkName>
Route DecodeRoute(rtnl_route* route, LinkName link_name);
// Decodes the message itself: libnl skips attributes that it does not know, and a rule with
// conditions that we cannot express must not be taken for one of ours.
PolicyRule DecodeRule(const nlmsghdr* message);

// --- the parts of a route that do not depend on names ---
NlPtr<rtnl_route> EncodeRouteHead(const Route& route);
NlPtr<rtnl_route> AddNextHop(NlPtr<rtnl_route> route, const NextHop& hop, int link_index);
Route DecodeRouteHead(rtnl_route* route);
std::optional<IpAddress> DecodeIp(nl_addr* address);

template <typename LinkIndex>
NlPtr<rtnl_route> EncodeRoute(const Route& route, LinkIndex link_index) {
  NlPtr<rtnl_route> out = EncodeRouteHead(route);
  for (const NextHop& hop : route.next_hops) {
    out = AddNextHop(std::move(out), hop, hop.device.empty() ? 0 : link_index(hop.device));
  }
  return out;
}

template <typename LinkName>
Route DecodeRoute(rtnl_route* route, LinkName link_name) {
  Route out = DecodeRouteHead(route);
  for (int i = 0; i < rtnl_route_get_nnexthops(route); ++i) {
    rtnl_nexthop* const hop = rtnl_route_nexthop_n(route, i);
    const int index = rtnl_route_nh_get_ifindex(hop);
    out.next_hops.push_back({.device = index == 0 ? std::string() : link_name(index),
                             .gateway = DecodeIp(rtnl_route_nh_get_gateway(hop))});
  }
  return out;
}

}  // namespace sluice::netns
