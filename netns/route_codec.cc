// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "netns/route_codec.h"

#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>
#include <utility>

#include <netlink/route/link/inet6.h>

namespace sluice::netns {
namespace {

constexpr std::pair<RouteType, std::uint8_t> kRouteTypes[] = {
    {RouteType::kUnicast, RTN_UNICAST},     {RouteType::kLocal, RTN_LOCAL},
    {RouteType::kBlackhole, RTN_BLACKHOLE}, {RouteType::kUnreachable, RTN_UNREACHABLE},
    {RouteType::kProhibit, RTN_PROHIBIT},
};

constexpr std::pair<AddressScope, int> kScopes[] = {
    {AddressScope::kGlobal, RT_SCOPE_UNIVERSE},
    {AddressScope::kSite, RT_SCOPE_SITE},
    {AddressScope::kLink, RT_SCOPE_LINK},
    {AddressScope::kHost, RT_SCOPE_HOST},
};

Family FamilyOf(int address_family) {
  return address_family == AF_INET6 ? Family::kIpv6 : Family::kIpv4;
}

// IFF_RUNNING is not sufficient: it is set before the kernel first checks for a carrier (operstate
// "unknown"), when packets are still dropped.
bool Operates(rtnl_link* link) {
  const unsigned flags = rtnl_link_get_flags(link);
  const bool carrier = (flags & IFF_LOOPBACK) != 0 || rtnl_link_get_operstate(link) == IF_OPER_UP;
  return (flags & IFF_UP) != 0 && carrier;
}

// IPv6 is the last to learn that a device is usable (net/ipv6/addrconf.c, addrconf_notify).
bool IsReady(rtnl_link* link) {
  constexpr std::uint32_t kInet6Ready = 0x80000000;  // IF_READY of include/net/if_inet6.h
  std::uint32_t inet6_flags = kInet6Ready;           // unchanged if this kernel has no IPv6
  rtnl_link_inet6_get_flags(link, &inet6_flags);
  return Operates(link) && (inet6_flags & kInet6Ready) != 0;
}

}  // namespace

int AddressFamily(Family family) { return family == Family::kIpv4 ? AF_INET : AF_INET6; }

NlPtr<nl_addr> EncodeAddress(const IpAddress& ip, int prefix_length) {
  const auto bytes = ip.bytes();
  NlPtr<nl_addr> out = Own(nl_addr_build(AddressFamily(ip.family()), bytes.data(), bytes.size()));
  nl_addr_set_prefixlen(out.get(), prefix_length);
  return out;
}

std::optional<IpAddress> DecodeIp(nl_addr* address) {
  if (address == nullptr) return std::nullopt;
  const std::size_t length = nl_addr_get_len(address);
  if (length != 4 && length != 16) return std::nullopt;
  const auto* bytes = static_cast<const std::uint8_t*>(nl_addr_get_binary_addr(address));
  return IpAddress::FromBytes({bytes, length});
}

NlPtr<rtnl_addr> EncodeInterfaceAddress(int link_index, const InterfaceAddress& address) {
  NlPtr<rtnl_addr> out = Own(rtnl_addr_alloc());
  rtnl_addr_set_ifindex(out.get(), link_index);
  rtnl_addr_set_local(out.get(), EncodeAddress(address.ip, address.prefix_length).get());
  return out;
}

NlPtr<rtnl_neigh> EncodeNeighbor(int link_index, const Neighbor& neighbor) {
  NlPtr<rtnl_neigh> out = Own(rtnl_neigh_alloc());
  rtnl_neigh_set_ifindex(out.get(), link_index);
  rtnl_neigh_set_state(out.get(), NUD_PERMANENT);
  rtnl_neigh_set_dst(out.get(),
                     EncodeAddress(neighbor.ip, AddressBits(neighbor.ip.family())).get());
  const NlPtr<nl_addr> station =
      Own(nl_addr_build(AF_LLC, neighbor.mac.data(), neighbor.mac.size()));
  rtnl_neigh_set_lladdr(out.get(), station.get());
  return out;
}

Link DecodeLink(rtnl_link* link) {
  const unsigned flags = rtnl_link_get_flags(link);
  return {.name = rtnl_link_get_name(link),
          .index = rtnl_link_get_ifindex(link),
          .up = (flags & IFF_UP) != 0,
          .operates = Operates(link),
          .ready = IsReady(link),
          .loopback = (flags & IFF_LOOPBACK) != 0,
          .mtu_bytes = rtnl_link_get_mtu(link)};
}

AddressEntry DecodeAddress(rtnl_addr* address) {
  AddressEntry out;
  out.link_index = rtnl_addr_get_ifindex(address);
  if (const auto ip = DecodeIp(rtnl_addr_get_local(address))) {
    out.address = {*ip, rtnl_addr_get_prefixlen(address)};
  }
  out.scope = AddressScope::kOther;
  for (const auto& [scope, number] : kScopes) {
    if (rtnl_addr_get_scope(address) == number) out.scope = scope;
  }
  const unsigned flags = rtnl_addr_get_flags(address);
  out.tentative = (flags & IFA_F_TENTATIVE) != 0;
  out.dad_failed = (flags & IFA_F_DADFAILED) != 0;
  out.no_dad = (flags & IFA_F_NODAD) != 0;
  return out;
}

NlPtr<rtnl_route> EncodeRouteHead(const Route& route) {
  NlPtr<rtnl_route> out = Own(rtnl_route_alloc());
  rtnl_route_set_family(out.get(), static_cast<uint8_t>(AddressFamily(route.destination.family())));
  rtnl_route_set_dst(
      out.get(),
      EncodeAddress(route.destination.address(), route.destination.prefix_length()).get());
  rtnl_route_set_table(out.get(), route.table);
  if (route.metric != 0) rtnl_route_set_priority(out.get(), route.metric);
  for (const auto& [type, number] : kRouteTypes) {
    if (type == route.type) rtnl_route_set_type(out.get(), number);
  }
  return out;
}

NlPtr<rtnl_route> AddNextHop(NlPtr<rtnl_route> route, const NextHop& hop, int link_index) {
  rtnl_nexthop* const next = rtnl_route_nh_alloc();
  if (next == nullptr) throw std::bad_alloc();
  if (link_index != 0) rtnl_route_nh_set_ifindex(next, link_index);
  if (hop.gateway) {
    const int bits = AddressBits(hop.gateway->family());
    rtnl_route_nh_set_gateway(next, EncodeAddress(*hop.gateway, bits).get());
  }
  rtnl_route_add_nexthop(route.get(), next);  // the route owns it now
  return route;
}

Route DecodeRouteHead(rtnl_route* route) {
  const Family family = FamilyOf(rtnl_route_get_family(route));
  nl_addr* const destination = rtnl_route_get_dst(route);
  const int prefix_length =
      destination == nullptr ? 0 : static_cast<int>(nl_addr_get_prefixlen(destination));
  Route out;
  out.destination =
      Cidr(DecodeIp(destination).value_or(IpAddress::Unspecified(family)), prefix_length);
  out.type = RouteType::kOther;
  for (const auto& [type, number] : kRouteTypes) {
    if (rtnl_route_get_type(route) == number) out.type = type;
  }
  out.table = rtnl_route_get_table(route);
  out.metric = rtnl_route_get_priority(route);
  return out;
}

NlPtr<rtnl_rule> EncodeRule(const PolicyRule& rule) {
  NlPtr<rtnl_rule> out = Own(rtnl_rule_alloc());
  rtnl_rule_set_family(out.get(), AddressFamily(rule.family));
  rtnl_rule_set_action(out.get(), FR_ACT_TO_TBL);
  rtnl_rule_set_table(out.get(), rule.table);
  if (rule.priority != 0) rtnl_rule_set_prio(out.get(), rule.priority);
  if (rule.mask != 0) {
    rtnl_rule_set_mark(out.get(), rule.mark);
    rtnl_rule_set_mask(out.get(), rule.mask);
  }
  return out;
}

PolicyRule DecodeRule(const nlmsghdr* message) {
  const auto* header = static_cast<const fib_rule_hdr*>(nlmsg_data(message));
  PolicyRule out;
  out.family = FamilyOf(header->family);
  out.table = header->table;
  out.has_more = header->action != FR_ACT_TO_TBL || (header->flags & FIB_RULE_INVERT) != 0 ||
                 header->tos != 0 || header->src_len != 0 || header->dst_len != 0;
  const auto* attribute = nlmsg_attrdata(message, sizeof(*header));
  int left = nlmsg_attrlen(message, sizeof(*header));
  for (; nla_ok(attribute, left); attribute = nla_next(attribute, &left)) {
    switch (nla_type(attribute)) {
      case FRA_PRIORITY:
        out.priority = nla_get_u32(attribute);
        break;
      case FRA_FWMARK:
        out.mark = nla_get_u32(attribute);
        break;
      case FRA_FWMASK:
        out.mask = nla_get_u32(attribute);
        break;
      case FRA_TABLE:
        out.table = nla_get_u32(attribute);
        break;
      case FRA_PROTOCOL:  // who added it; has no effect
        break;
      case FRA_SUPPRESS_PREFIXLEN:  // always sent; all ones means "not used"
        out.has_more |= nla_get_u32(attribute) != 0xffffffff;
        break;
      default:
        out.has_more = true;
    }
  }
  return out;
}

}  // namespace sluice::netns
