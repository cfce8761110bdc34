// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/cidr.h"
#include "base/ip_address.h"

// The values that a RouteSocket lists and takes: plain, comparable, and printed as iproute2 does.
// Numbers are in host byte order; names of constants are those of rtnetlink(7).
namespace sluice::netns {

// A network device.
struct Link {
  std::string name;
  int index = 0;
  bool up = false;        // IFF_UP: the requested state
  bool operates = false;  // packets pass: it is up, with a carrier
  bool ready = false;     // packets of both families: IPv6 knows, unless the kernel has none
  bool loopback = false;
  std::uint32_t mtu_bytes = 0;

  std::string ToString() const;
  friend auto operator<=>(const Link&, const Link&) = default;
};

// An address with the prefix length of its subnet: "192.0.2.2/24". Unlike a Cidr it keeps the bits
// after the prefix.
struct InterfaceAddress {
  IpAddress ip;
  int prefix_length = 32;

  // "address/length"; a single address means /32 or /128. Throws std::invalid_argument saying what
  // is expected.
  static InterfaceAddress Parse(std::string_view text);
  // With /32 or /128.
  static InterfaceAddress Host(const IpAddress& ip);

  Cidr Subnet() const { return {ip, prefix_length}; }

  // In the form that Parse takes; always with the length.
  std::string ToString() const;
  friend auto operator<=>(const InterfaceAddress&, const InterfaceAddress&) = default;
};

enum class AddressScope : std::uint8_t { kGlobal, kSite, kLink, kHost, kOther };

// An address as listed by the kernel. A unique-local IPv6 address (fc00::/7) has scope kGlobal.
struct AddressEntry {
  std::string link;
  int link_index = 0;
  InterfaceAddress address;
  AddressScope scope = AddressScope::kGlobal;
  bool tentative = false;   // IFA_F_TENTATIVE: duplicate address detection is running
  bool dad_failed = false;  // IFA_F_DADFAILED: another host has it; the kernel does not use it
  bool no_dad = false;      // IFA_F_NODAD

  std::string ToString() const;
  friend auto operator<=>(const AddressEntry&, const AddressEntry&) = default;
};

// The Ethernet address of a neighbour on the link, so that the kernel need not ask for it.
struct Neighbor {
  IpAddress ip;
  std::array<std::uint8_t, 6> mac = {};

  // "192.0.2.1 lladdr 02:00:00:00:00:01"
  std::string ToString() const;
  friend auto operator<=>(const Neighbor&, const Neighbor&) = default;
};

inline constexpr std::uint32_t kMainTable = 254;   // RT_TABLE_MAIN
inline constexpr std::uint32_t kLocalTable = 255;  // RT_TABLE_LOCAL

enum class RouteType : std::uint8_t {
  kUnicast,
  kLocal,
  kBlackhole,
  kUnreachable,
  kProhibit,
  kOther
};

// One way out of a route: through a device, to a gateway, or both.
struct NextHop {
  std::string device = {};  // empty: determined by the gateway
  std::optional<IpAddress> gateway = {};

  friend auto operator<=>(const NextHop&, const NextHop&) = default;
};

// A route. The family is that of `destination`; the default route is 0.0.0.0/0 or ::/0. Several
// next hops make a multipath route with equal weights.
struct Route {
  Cidr destination = {};
  RouteType type = RouteType::kUnicast;
  std::uint32_t table = kMainTable;
  std::vector<NextHop> next_hops = {};
  std::uint32_t metric = 0;  // 0: the kernel's default, listed as 1024 for IPv6

  std::string ToString() const;
  friend auto operator<=>(const Route&, const Route&) = default;
};

// Whether `listed` is the result of AddRoute(wanted): equal, except for what `wanted` leaves to the
// kernel (the metric, and the device of a next hop that has a gateway).
bool Satisfies(const Route& listed, const Route& wanted);

// `ip rule`: packets with (packet mark & `mask`) == `mark` are looked up in `table`.
struct PolicyRule {
  Family family = Family::kIpv4;
  std::uint32_t priority = 0;  // lower ones first
  std::uint32_t mark = 0;
  std::uint32_t mask = 0;  // 0: the mark is ignored
  std::uint32_t table = kMainTable;
  // Has more conditions or actions than this struct (a source range, a device, a goto...): never
  // equal to a Sluice rule.
  bool has_more = false;

  std::string ToString() const;
  friend auto operator<=>(const PolicyRule&, const PolicyRule&) = default;
};

std::ostream& operator<<(std::ostream& out, const Link& link);
std::ostream& operator<<(std::ostream& out, const InterfaceAddress& address);
std::ostream& operator<<(std::ostream& out, const AddressEntry& address);
std::ostream& operator<<(std::ostream& out, const Route& route);
std::ostream& operator<<(std::ostream& out, const PolicyRule& rule);

}  // namespace sluice::netns
