// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "netns/route_values.h"

#include <algorithm>
#include <ostream>
#include <stdexcept>

#include "base/hex.h"
#include "base/parse.h"

namespace sluice::netns {
namespace {

std::string_view Name(AddressScope scope) {
  switch (scope) {
    case AddressScope::kGlobal:
      return "global";
    case AddressScope::kSite:
      return "site";
    case AddressScope::kLink:
      return "link";
    case AddressScope::kHost:
      return "host";
    case AddressScope::kOther:
      break;
  }
  return "other";
}

std::string_view Name(RouteType type) {
  switch (type) {
    case RouteType::kUnicast:
      return "unicast";
    case RouteType::kLocal:
      return "local";
    case RouteType::kBlackhole:
      return "blackhole";
    case RouteType::kUnreachable:
      return "unreachable";
    case RouteType::kProhibit:
      return "prohibit";
    case RouteType::kOther:
      break;
  }
  return "other";
}

bool Satisfies(const NextHop& listed, const NextHop& wanted) {
  return listed.gateway == wanted.gateway &&
         (listed.device == wanted.device || (wanted.device.empty() && wanted.gateway));
}

}  // namespace

std::string Link::ToString() const {
  return name + (up ? " up" : " down") + (ready ? "" : " not-ready") + " mtu " +
         std::to_string(mtu_bytes);
}

InterfaceAddress InterfaceAddress::Parse(std::string_view text) {
  const std::size_t slash = text.find('/');
  InterfaceAddress out = Host(IpAddress::Parse(text.substr(0, slash)));
  if (slash != std::string_view::npos) {
    const int bits = AddressBits(out.ip.family());
    out.prefix_length =
        static_cast<int>(ParseDecimal(text.substr(slash + 1), 0, static_cast<std::uint64_t>(bits)));
  }
  return out;
}

InterfaceAddress InterfaceAddress::Host(const IpAddress& ip) {
  return {ip, AddressBits(ip.family())};
}

std::string InterfaceAddress::ToString() const {
  return ip.ToString() + "/" + std::to_string(prefix_length);
}

std::string AddressEntry::ToString() const {
  std::string out = address.ToString() + " scope " + std::string(Name(scope));
  if (tentative) out += " tentative";
  if (dad_failed) out += " dadfailed";
  if (no_dad) out += " nodad";
  return out + " dev " + link;
}

std::string Neighbor::ToString() const {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out = ip.ToString() + " lladdr ";
  for (const std::uint8_t byte : mac) {
    if (&byte != mac.data()) out += ':';
    out += kDigits[byte >> 4U];
    out += kDigits[byte & 0xfU];
  }
  return out;
}

std::string Route::ToString() const {
  std::string out;
  if (type != RouteType::kUnicast) out += std::string(Name(type)) + " ";
  out += destination.prefix_length() == 0 ? "default" : destination.ToString();
  for (const NextHop& hop : next_hops) {
    if (next_hops.size() > 1) out += " nexthop";
    if (hop.gateway) out += " via " + hop.gateway->ToString();
    if (!hop.device.empty()) out += " dev " + hop.device;
  }
  out += " table " + std::to_string(table);
  if (metric != 0) out += " metric " + std::to_string(metric);
  return out;
}

bool Satisfies(const Route& listed, const Route& wanted) {
  return listed.destination == wanted.destination && listed.type == wanted.type &&
         listed.table == wanted.table && (wanted.metric == 0 || listed.metric == wanted.metric) &&
         std::ranges::equal(
             listed.next_hops, wanted.next_hops,
             [](const NextHop& have, const NextHop& want) { return Satisfies(have, want); });
}

std::string PolicyRule::ToString() const {
  std::string out = std::to_string(priority) + ": from all";
  if (mask != 0) out += " fwmark " + Hex(mark) + "/" + Hex(mask);
  out += " lookup " + std::to_string(table);
  if (has_more) out += " and more";
  return out + " (" + std::string(sluice::Name(family)) + ")";
}

std::ostream& operator<<(std::ostream& out, const Link& link) { return out << link.ToString(); }

std::ostream& operator<<(std::ostream& out, const InterfaceAddress& address) {
  return out << address.ToString();
}

std::ostream& operator<<(std::ostream& out, const AddressEntry& address) {
  return out << address.ToString();
}

std::ostream& operator<<(std::ostream& out, const Route& route) { return out << route.ToString(); }

std::ostream& operator<<(std::ostream& out, const PolicyRule& rule) {
  return out << rule.ToString();
}

}  // namespace sluice::netns
