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

// The result of a request to add or remove.
enum class Change {
  kDone,     // the kernel did it
  kAlready,  // nothing to do: it already existed, or was already gone
};

// Duplicate address detection for a new IPv6 address (RFC 4862).
enum class Dad {
  kSkip,      // nodad: usable at once, though neighbours may need a moment to find it
  kAsTheLink  // as the device's accept_dad says; tentative until detection is done
};

// One end of a veth pair (veth(4)).
struct VethEnd {
  std::string name;                       // at most 15 bytes
  const Namespace* name_space = nullptr;  // null: the socket's namespace
};

// One NETLINK_ROUTE socket (rtnetlink(7)), through libnl-3. It works in the network namespace in
// which it was opened, wherever its thread goes later.
//
// Nothing is cached: a request is one round trip, and one more if a device name must be converted
// to an index or back. A listing asks the kernel only for what it returns. All functions throw
// sluice::Error: kPrivilege for EPERM (changes need CAP_NET_ADMIN, listings nothing),
// kKernelFeature if the kernel has no IPv6 or has it disabled, otherwise kFailed with the kernel's
// own explanation if there is one. A failed request has changed nothing. Not thread-safe: one
// thread at a time.
class RouteSocket {
 public:
  // In the calling thread's namespace.
  RouteSocket();
  // In `where`. Needs CAP_SYS_ADMIN; the thread stays where it is.
  explicit RouteSocket(const Namespace& where);
  RouteSocket(RouteSocket&&) noexcept;
  RouteSocket& operator=(RouteSocket&&) noexcept;
  ~RouteSocket();

  // The socket's namespace; nothing without CAP_NET_ADMIN there. SIOCGSKNS (since Linux 4.9) costs
  // a fraction of reading /proc.
  std::optional<Namespace> Where() const;

  // --- links ---
  std::vector<Link> Links();
  // Nothing if there is no such link.
  std::optional<Link> FindLink(std::string_view name);
  // Both ends are down. Created in one step, each end in its namespace with its final name.
  void AddVeth(const VethEnd& one, const VethEnd& other);
  void SetUp(std::string_view link, bool up);
  void SetMtu(std::string_view link, std::uint32_t mtu_bytes);
  // Moves `link` to `target` and renames it to `new_name`. There it is down, without addresses.
  void MoveLink(std::string_view link, const Namespace& target, std::string_view new_name);
  // Also deletes the other end of a veth pair.
  Change DeleteLink(std::string_view link);

  // --- addresses ---
  // Of all links; of both families, or of one.
  std::vector<AddressEntry> Addresses(std::optional<Family> family = std::nullopt);
  // kKernelFeature if IPv6 is disabled on that link (disable_ipv6=1).
  Change AddAddress(std::string_view link, const InterfaceAddress& address, Dad dad = Dad::kSkip);
  Change RemoveAddress(std::string_view link, const InterfaceAddress& address);

  // --- routes ---
  // Of one table and family. Empty if there is no such table.
  std::vector<Route> Routes(Family family, std::uint32_t table = kMainTable);
  // kAlready if the kernel has one for the same destination, table and metric, even with other next
  // hops; compare with Routes() and Satisfies() if that matters.
  Change AddRoute(const Route& route);
  Change RemoveRoute(const Route& route);

  // --- neighbours ---
  // Adds a permanent entry, replacing what the kernel knew about that address on `link`.
  void SetNeighbor(std::string_view link, const Neighbor& neighbor);
  Change RemoveNeighbor(std::string_view link, const Neighbor& neighbor);

  // --- policy rules ---
  // Of both families, or of one.
  std::vector<PolicyRule> Rules(std::optional<Family> family = std::nullopt);
  // kAlready if an equal one exists. The kernel compares the priority too, so set one: otherwise it
  // would add the same rule again and again.
  Change AddRule(const PolicyRule& rule);
  // Removes one; equal ones, left by an older tool, each need another call.
  Change RemoveRule(const PolicyRule& rule);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::netns
