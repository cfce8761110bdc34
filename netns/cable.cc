// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "netns/cable.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/error.h"
#include "netns/route_socket.h"
#include "netns/sysctl.h"

namespace sluice::netns {
namespace {

// Waits until `done` is true: usually milliseconds, longer on a busy machine.
template <typename Done>
void WaitFor(const std::string& device, Done done) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) {
      throw Error(ErrorKind::kFailed, {.doing = "set up a cable",
                                       .target = device,
                                       .why = "the kernel does not get it ready within 5 s",
                                       .help = ""});
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// Whether a device has IPv6. Many nodes disable it (net.ipv6.conf.default.disable_ipv6=1), and a
// kernel that was started with ipv6.disable=1 has no such setting.
bool HasIpv6(const Namespace& where, const std::string& device) {
  const ScopedNamespace inside(where);
  try {
    return ReadSysctl("ipv6/conf/" + device + "/disable_ipv6") == "0";
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kKernelFeature) throw;
    return false;
  }
}

// A setting of IPv6, on kernels that have it.
void WriteIpv6(std::string_view name, std::string_view value) {
  try {
    WriteSysctl("ipv6/" + std::string(name), value);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kKernelFeature) throw;
  }
}

// The kernel notices asynchronously that both ends are up (net/core/link_watch.c), and drops
// packets until then.
void WaitForLink(RouteSocket& routes, const CableEnd& end) {
  const bool ipv6 = HasIpv6(*end.where, end.device);
  WaitFor(end.device, [&] {
    const auto link = routes.FindLink(end.device);
    return link && (ipv6 ? link->ready : link->operates);
  });
}

// The kernel also joins the multicast group for neighbour solicitations asynchronously. It has
// joined when the address is no longer tentative (net/ipv6/addrconf.c, addrconf_dad_begin); with
// nodad this would not be visible.
void AddAddresses(RouteSocket& routes, const CableEnd& end) {
  for (const InterfaceAddress& address : end.addresses) {
    routes.AddAddress(end.device, address, Dad::kAsTheLink);
  }
  WaitFor(end.device, [&] {
    return std::ranges::none_of(routes.Addresses(Family::kIpv6), &AddressEntry::tentative);
  });
}

}  // namespace

void PrepareNamespace(const Namespace& where) {
  const ScopedNamespace inside(where);
  WriteIpv6("conf/all/accept_dad", "0");
  WriteIpv6("conf/default/accept_dad", "0");
  RouteSocket().SetUp("lo", true);
}

void AddCable(const CableEnd& one, const CableEnd& other) {
  RouteSocket first(*one.where);
  RouteSocket second(*other.where);
  first.AddVeth({.name = one.device}, {.name = other.device, .name_space = other.where});
  first.SetUp(one.device, true);
  second.SetUp(other.device, true);
  WaitForLink(first, one);
  WaitForLink(second, other);
  AddAddresses(first, one);
  AddAddresses(second, other);
}

void AddDefaultRoute(const Namespace& where, const IpAddress& gateway) {
  const Cidr all = Cidr::Parse(gateway.is_v4() ? "0.0.0.0/0" : "::/0");
  RouteSocket(where).AddRoute({.destination = all, .next_hops = {{.gateway = gateway}}});
}

void MakeRouter(const Namespace& where) {
  const ScopedNamespace inside(where);
  WriteSysctl("ipv4/ip_forward", "1");
  WriteIpv6("conf/all/forwarding", "1");
  // 1: addresses and ports (Documentation/networking/ip-sysctl.rst).
  WriteSysctl("ipv4/fib_multipath_hash_policy", "1");
  WriteIpv6("fib_multipath_hash_policy", "1");
}

}  // namespace sluice::netns
