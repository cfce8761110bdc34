// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "netns/route_socket.h"

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include <netlink/route/link/veth.h>

#include "base/error.h"
#include "base/unique_fd.h"
#include "netns/netlink_socket.h"
#include "netns/route_codec.h"

namespace sluice::netns {
namespace {

// libnl truncates longer names, so that the request would be about another device.
void RequireLinkName(std::string_view name, const std::string& doing) {
  if (!name.empty() && name.size() < IFNAMSIZ) return;
  throw Error(ErrorKind::kFailed, {.doing = doing,
                                   .target = std::string(name),
                                   .why = "the name of a network device has 1 to 15 bytes",
                                   .help = ""});
}

}  // namespace

class RouteSocket::Impl : public NetlinkSocket {
 public:
  std::vector<Link> Links();
  std::optional<Link> FindLink(std::string_view name);
  // Throws if there is none.
  int IndexOf(std::string_view name, const std::string& doing);
  // Empty if there is no device with that index (any more).
  std::string NameOf(int index);
};

std::vector<Link> RouteSocket::Impl::Links() {
  ifinfomsg header = {};
  const NlPtr<nl_msg> request = NewListing(RTM_GETLINK, &header, sizeof(header));
  // Skip the counters, which are most of the data for a link.
  if (nla_put_u32(request.get(), IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS) < 0) {
    throw std::bad_alloc();
  }
  std::vector<Link> out;
  for (const auto& message : List(request.get(), "list the network devices")) {
    out.push_back(DecodeLink(Parse<rtnl_link>(message.get()).get()));
  }
  return out;
}

std::optional<Link> RouteSocket::Impl::FindLink(std::string_view name) {
  const std::string doing = "look for a network device";
  const std::string target(name);
  RequireLinkName(name, doing);
  Messages answer;
  const int refused = Get(
      doing, target,
      [&](nl_msg** message) { return rtnl_link_build_get_request(0, target.c_str(), message); },
      answer);
  if (refused == ENODEV) return std::nullopt;
  if (refused != 0 || answer.empty()) throw Refusal(doing, target);
  return DecodeLink(Parse<rtnl_link>(answer.front().get()).get());
}

int RouteSocket::Impl::IndexOf(std::string_view name, const std::string& doing) {
  if (const auto link = FindLink(name)) return link->index;
  throw Error(ErrorKind::kFailed, {.doing = doing,
                                   .target = std::string(name),
                                   .why = "there is no such network device",
                                   .help = ""});
}

// Any socket can ask about the devices of its namespace (netdevice(7)). Listing all devices, for
// the two or three names of a pod, would cost more than the rest of reading its addresses.
std::string RouteSocket::Impl::NameOf(int index) {
  ifreq request = {};
  request.ifr_ifindex = index;
  if (ioctl(fd(), SIOCGIFNAME, &request) != 0) return "";
  return request.ifr_name;
}

RouteSocket::RouteSocket() : impl_(std::make_unique<Impl>()) {}

RouteSocket::RouteSocket(const Namespace& where) {
  const ScopedNamespace inside(where);
  impl_ = std::make_unique<Impl>();
}

RouteSocket::RouteSocket(RouteSocket&&) noexcept = default;
RouteSocket& RouteSocket::operator=(RouteSocket&&) noexcept = default;
RouteSocket::~RouteSocket() = default;

std::optional<Namespace> RouteSocket::Where() const {
  UniqueFd fd(ioctl(impl_->fd(), SIOCGSKNS));  // is close-on-exec
  if (!fd) return std::nullopt;
  return Namespace::Take(std::move(fd));
}

std::vector<Link> RouteSocket::Links() { return impl_->Links(); }

std::optional<Link> RouteSocket::FindLink(std::string_view name) { return impl_->FindLink(name); }

void RouteSocket::AddVeth(const VethEnd& one, const VethEnd& other) {
  const std::string doing = "create a pair of network devices";
  const std::string target = one.name + " and " + other.name;
  RequireLinkName(one.name, doing);
  RequireLinkName(other.name, doing);
  const NlPtr<rtnl_link> link = Own(rtnl_link_veth_alloc());
  const NlPtr<rtnl_link> peer = Own(rtnl_link_veth_get_peer(link.get()));  // takes a reference
  const auto describe = [](rtnl_link* part, const VethEnd& end) {
    rtnl_link_set_name(part, end.name.c_str());
    if (end.name_space != nullptr) rtnl_link_set_ns_fd(part, end.name_space->fd());
  };
  describe(link.get(), one);
  describe(peer.get(), other);
  if (impl_->Ask(doing, target, [&](nl_msg** message) {
        return rtnl_link_build_add_request(link.get(), NLM_F_CREATE | NLM_F_EXCL, message);
      }) != 0) {
    throw impl_->Refusal(doing, target);
  }
}

namespace {

// Changes an existing link; `describe` fills in the new values.
template <typename Socket, typename Describe>
void ChangeLink(Socket& socket, std::string_view name, const std::string& doing,
                Describe describe) {
  const std::string target(name);
  const NlPtr<rtnl_link> original = Own(rtnl_link_alloc());
  rtnl_link_set_ifindex(original.get(), socket.IndexOf(name, doing));
  const NlPtr<rtnl_link> changes = Own(rtnl_link_alloc());
  describe(changes.get());
  if (socket.Ask(doing, target, [&](nl_msg** message) {
        return rtnl_link_build_change_request(original.get(), changes.get(), 0, message);
      }) != 0) {
    throw socket.Refusal(doing, target);
  }
}

// "remove 192.0.2.2/24 (eth0)": an absent address is EADDRNOTAVAIL, an existing one EEXIST.
template <typename Socket, typename Build>
Change ChangeAddress(Socket& socket, std::string_view link, const InterfaceAddress& address,
                     const std::string& verb, int already, Build build) {
  const std::string doing = verb + " the address " + address.ToString();
  const std::string target(link);
  const NlPtr<rtnl_addr> encoded = EncodeInterfaceAddress(socket.IndexOf(link, doing), address);
  const int refused =
      socket.Ask(doing, target, [&](nl_msg** message) { return build(encoded.get(), message); });
  if (refused == 0) return Change::kDone;
  if (refused == already) return Change::kAlready;
  // EACCES: disable_ipv6 is set on the link; older kernels say EADDRNOTAVAIL (net/ipv6/addrconf.c).
  if (!address.ip.is_v4() && (refused == EACCES || refused == EADDRNOTAVAIL)) {
    throw Error(ErrorKind::kKernelFeature,
                {.doing = doing,
                 .target = target,
                 .why = "IPv6 is disabled on this device",
                 .help = "set net.ipv6.conf." + target + ".disable_ipv6 to 0, or do without IPv6"});
  }
  if (!address.ip.is_v4() && refused == EOPNOTSUPP) {
    throw Error(ErrorKind::kKernelFeature, {.doing = doing,
                                            .target = target,
                                            .why = "the kernel has no IPv6",
                                            .help = "do without IPv6"});
  }
  throw socket.Refusal(doing, target);
}

}  // namespace

void RouteSocket::SetUp(std::string_view link, bool up) {
  ChangeLink(*impl_, link, up ? "set up the network device" : "set down the network device",
             [up](rtnl_link* changes) {
               up ? rtnl_link_set_flags(changes, IFF_UP) : rtnl_link_unset_flags(changes, IFF_UP);
             });
}

void RouteSocket::SetMtu(std::string_view link, std::uint32_t mtu_bytes) {
  ChangeLink(*impl_, link, "set the MTU to " + std::to_string(mtu_bytes),
             [mtu_bytes](rtnl_link* changes) { rtnl_link_set_mtu(changes, mtu_bytes); });
}

void RouteSocket::MoveLink(std::string_view link, const Namespace& target,
                           std::string_view new_name) {
  const std::string doing = "move the network device to " + target.name();
  RequireLinkName(new_name, doing);
  ChangeLink(*impl_, link, doing, [&](rtnl_link* changes) {
    rtnl_link_set_ns_fd(changes, target.fd());
    rtnl_link_set_name(changes, std::string(new_name).c_str());
  });
}

Change RouteSocket::DeleteLink(std::string_view link) {
  const std::string doing = "delete the network device";
  const std::string target(link);
  RequireLinkName(link, doing);
  const NlPtr<rtnl_link> named = Own(rtnl_link_alloc());
  rtnl_link_set_name(named.get(), target.c_str());
  const int refused = impl_->Ask(doing, target, [&](nl_msg** message) {
    return rtnl_link_build_delete_request(named.get(), message);
  });
  if (refused == 0) return Change::kDone;
  if (refused == ENODEV) return Change::kAlready;
  throw impl_->Refusal(doing, target);
}

std::vector<AddressEntry> RouteSocket::Addresses(std::optional<Family> family) {
  ifaddrmsg header = {};
  header.ifa_family = static_cast<std::uint8_t>(family ? AddressFamily(*family) : AF_UNSPEC);
  const NlPtr<nl_msg> request = NewListing(RTM_GETADDR, &header, sizeof(header));
  std::vector<AddressEntry> out;
  for (const auto& message : impl_->List(request.get(), "list the addresses")) {
    out.push_back(DecodeAddress(Parse<rtnl_addr>(message.get()).get()));
  }
  for (AddressEntry& entry : out) entry.link = impl_->NameOf(entry.link_index);
  return out;
}

Change RouteSocket::AddAddress(std::string_view link, const InterfaceAddress& address, Dad dad) {
  return ChangeAddress(*impl_, link, address, "add", EEXIST,
                       [&](rtnl_addr* encoded, nl_msg** message) {
                         if (!address.ip.is_v4() && dad == Dad::kSkip) {
                           rtnl_addr_set_flags(encoded, IFA_F_NODAD);
                         }
                         return rtnl_addr_build_add_request(encoded, NLM_F_EXCL, message);
                       });
}

Change RouteSocket::RemoveAddress(std::string_view link, const InterfaceAddress& address) {
  return ChangeAddress(*impl_, link, address, "remove", EADDRNOTAVAIL,
                       [](rtnl_addr* encoded, nl_msg** message) {
                         return rtnl_addr_build_delete_request(encoded, 0, message);
                       });
}

std::vector<Route> RouteSocket::Routes(Family family, std::uint32_t table) {
  rtmsg header = {};
  header.rtm_family = static_cast<std::uint8_t>(AddressFamily(family));
  const NlPtr<nl_msg> request = NewListing(RTM_GETROUTE, &header, sizeof(header));
  if (nla_put_u32(request.get(), RTA_TABLE, table) < 0) throw std::bad_alloc();
  // ENOENT: the table was never used (net/ipv4/fib_frontend.c, inet_dump_fib).
  const auto messages = impl_->List(request.get(), "list the routes", ENOENT);
  std::vector<Route> out;
  const auto name_of = [this](int index) { return impl_->NameOf(index); };
  for (const auto& message : messages) {
    const NlPtr<rtnl_route> route = Parse<rtnl_route>(message.get());
    // Older kernels do not filter and send all tables.
    if (rtnl_route_get_table(route.get()) == table) {
      out.push_back(DecodeRoute(route.get(), name_of));
    }
  }
  return out;
}

Change RouteSocket::AddRoute(const Route& route) {
  const std::string doing = "add a route";
  const auto encoded =
      EncodeRoute(route, [&](const std::string& device) { return impl_->IndexOf(device, doing); });
  const int refused = impl_->Ask(doing, route.ToString(), [&](nl_msg** message) {
    return rtnl_route_build_add_request(encoded.get(), NLM_F_CREATE | NLM_F_EXCL, message);
  });
  if (refused == 0) return Change::kDone;
  if (refused == EEXIST) return Change::kAlready;
  throw impl_->Refusal(doing, route.ToString());
}

Change RouteSocket::RemoveRoute(const Route& route) {
  const std::string doing = "remove a route";
  const auto encoded =
      EncodeRoute(route, [&](const std::string& device) { return impl_->IndexOf(device, doing); });
  const int refused = impl_->Ask(doing, route.ToString(), [&](nl_msg** message) {
    return rtnl_route_build_del_request(encoded.get(), 0, message);
  });
  if (refused == 0) return Change::kDone;
  if (refused == ESRCH) return Change::kAlready;
  throw impl_->Refusal(doing, route.ToString());
}

void RouteSocket::SetNeighbor(std::string_view link, const Neighbor& neighbor) {
  const std::string doing = "set the neighbour " + neighbor.ToString();
  const std::string target(link);
  const auto encoded = EncodeNeighbor(impl_->IndexOf(link, doing), neighbor);
  if (impl_->Ask(doing, target, [&](nl_msg** message) {
        return rtnl_neigh_build_add_request(encoded.get(), NLM_F_CREATE | NLM_F_REPLACE, message);
      }) != 0) {
    throw impl_->Refusal(doing, target);
  }
}

Change RouteSocket::RemoveNeighbor(std::string_view link, const Neighbor& neighbor) {
  const std::string doing = "remove the neighbour " + neighbor.ToString();
  const std::string target(link);
  const auto encoded = EncodeNeighbor(impl_->IndexOf(link, doing), neighbor);
  const int refused = impl_->Ask(doing, target, [&](nl_msg** message) {
    return rtnl_neigh_build_delete_request(encoded.get(), 0, message);
  });
  if (refused == 0) return Change::kDone;
  if (refused == ENOENT) return Change::kAlready;
  throw impl_->Refusal(doing, target);
}

std::vector<PolicyRule> RouteSocket::Rules(std::optional<Family> family) {
  fib_rule_hdr header = {};
  header.family = static_cast<std::uint8_t>(family ? AddressFamily(*family) : AF_UNSPEC);
  const NlPtr<nl_msg> request = NewListing(RTM_GETRULE, &header, sizeof(header));
  std::vector<PolicyRule> out;
  for (const auto& message : impl_->List(request.get(), "list the policy rules")) {
    const nlmsghdr* const rule = nlmsg_hdr(message.get());
    // Multicast routing has rules, too, with their own family.
    const int of = static_cast<const fib_rule_hdr*>(nlmsg_data(rule))->family;
    if (of == AF_INET || of == AF_INET6) out.push_back(DecodeRule(rule));
  }
  return out;
}

Change RouteSocket::AddRule(const PolicyRule& rule) {
  const std::string doing = "add a policy rule";
  const NlPtr<rtnl_rule> encoded = EncodeRule(rule);
  const int refused = impl_->Ask(doing, rule.ToString(), [&](nl_msg** message) {
    return rtnl_rule_build_add_request(encoded.get(), NLM_F_CREATE | NLM_F_EXCL, message);
  });
  if (refused == 0) return Change::kDone;
  if (refused == EEXIST) return Change::kAlready;
  throw impl_->Refusal(doing, rule.ToString());
}

Change RouteSocket::RemoveRule(const PolicyRule& rule) {
  const std::string doing = "remove a policy rule";
  const NlPtr<rtnl_rule> encoded = EncodeRule(rule);
  const int refused = impl_->Ask(doing, rule.ToString(), [&](nl_msg** message) {
    return rtnl_rule_build_delete_request(encoded.get(), 0, message);
  });
  if (refused == 0) return Change::kDone;
  if (refused == ENOENT) return Change::kAlready;
  throw impl_->Refusal(doing, rule.ToString());
}

}  // namespace sluice::netns
