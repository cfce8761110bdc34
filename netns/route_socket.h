// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip_address.h"
#include "netns/namespace.h"
#include "netns/route_values.h"

namespace sluice::netns {

// What a request to add or remove came to.
enum class Change {
  kDone,     // the kernel did it
  kAlready,  // nothing to do: it was there already, or not there any more
};

// Duplicate address detection of an IPv6 address that is added (RFC 4862).
enum class Dad {
  kSkip,      // nodad: it can be bound at once, though neighbours may need a moment to find it
  kAsTheLink  // as accept_dad of the device says; the address is tentative until it is done
};

// One end of a veth pair (veth(4)).
struct VethEnd {
  std::string name;                       // at most 15 bytes
  const Namespace* name_space = nullptr;  // null: the namespace of the socket
};

// One NETLINK_ROUTE socket (rtnetlink(7)), through libnl-3. It speaks for the network namespace in
// which it was opened, wherever its thread goes later.
//
// Nothing is cached: a request is one round trip, and another where the name of a device has to
// become its index or the other way round. A listing asks the kernel for no more than what it
// returns. All functions throw sluice::Error: kPrivilege for EPERM (changes need CAP_NET_ADMIN,
// listings nothing), kKernelFeature where the kernel has no IPv6 or has it disabled, otherwise
// kFailed with the kernel's own explanation when it gives one. A request that fails has changed
// nothing. Not thread-safe: one thread at a time.
class RouteSocket {
 public:
  // In the namespace that the calling thread is in.
  RouteSocket();
  // In `where`. Needs CAP_SYS_ADMIN; the thread stays where it is.
  explicit RouteSocket(const Namespace& where);
  RouteSocket(RouteSocket&&) noexcept;
  RouteSocket& operator=(RouteSocket&&) noexcept;
  ~RouteSocket();

  // The namespace that this socket speaks for; nothing without CAP_NET_ADMIN there. The kernel says
  // so (SIOCGSKNS, since Linux 4.9) for a fraction of what the same takes through /proc.
  std::optional<Namespace> Where() const;

  // --- links ---
  std::vector<Link> Links();
  // Nothing when there is none of that name.
  std::optional<Link> FindLink(std::string_view name);
  // Both ends are down. Made in one step, each end in its namespace under its final name.
  void AddVeth(const VethEnd& one, const VethEnd& other);
  void SetUp(std::string_view link, bool up);
  void SetMtu(std::string_view link, std::uint32_t mtu_bytes);
  // Moves `link` out of this namespace, under `new_name` there. It arrives down, without addresses.
  void MoveLink(std::string_view link, const Namespace& target, std::string_view new_name);
  // The other end of a veth goes with it.
  Change DeleteLink(std::string_view link);

  // --- addresses ---
  // Of all links; of both families, or of one.
  std::vector<AddressEntry> Addresses(std::optional<Family> family = std::nullopt);
  // kKernelFeature when IPv6 is disabled on that link (disable_ipv6=1).
  Change AddAddress(std::string_view link, const InterfaceAddress& address, Dad dad = Dad::kSkip);
  Change RemoveAddress(std::string_view link, const InterfaceAddress& address);

  // --- routes ---
  // Of one table and family. Empty when there is no such table.
  std::vector<Route> Routes(Family family, std::uint32_t table = kMainTable);
  // kAlready when the kernel has one for the same destination, table and metric, whatever its next
  // hops; compare with Routes() and Satisfies() where that matters.
  Change AddRoute(const Route& route);
  Change RemoveRoute(const Route& route);

  // --- neighbours ---
  // A permanent one, instead of whatever the kernel knew of that address on `link`.
  void SetNeighbor(std::string_view link, const Neighbor& neighbor);
  Change RemoveNeighbor(std::string_view link, const Neighbor& neighbor);

  // --- policy rules ---
  // Of both families, or of one.
  std::vector<PolicyRule> Rules(std::optional<Family> family = std::nullopt);
  // kAlready when an equal one is there. That is found by the priority too, so give one: without it
  // the kernel would take the same rule again and again.
  Change AddRule(const PolicyRule& rule);
  // Removes one; equal ones that an older tool left need another call each.
  Change RemoveRule(const PolicyRule& rule);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::netns
