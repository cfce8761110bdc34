#include "netns/cable.h"

#include <chrono>
#include <thread>

#include "base/error.h"
#include "netns/route_socket.h"
#include "netns/sysctl.h"

namespace sluice::netns {
namespace {

constexpr std::chrono::seconds kCarrierLimit(5);  // it takes milliseconds; a busy machine, more

// The kernel notices in its own time that both ends are up, and until then it leaves an IPv6
// address out of the multicast group in which neighbours ask for it (net/core/link_watch.c).
void WaitForCarrier(RouteSocket& routes, const std::string& device) {
  const auto deadline = std::chrono::steady_clock::now() + kCarrierLimit;
  for (;;) {
    const auto link = routes.FindLink(device);
    if (link && link->running) return;
    if (!link || std::chrono::steady_clock::now() > deadline) {
      throw Error(ErrorKind::kFailed, {.doing = "set up a cable",
                                       .target = device,
                                       .why = link ? "no carrier after 5 s" : "the device is gone",
                                       .help = ""});
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace

void PrepareNamespace(const Namespace& where) {
  const ScopedNamespace inside(where);
  WriteSysctl("ipv6/conf/all/accept_dad", "0");
  WriteSysctl("ipv6/conf/default/accept_dad", "0");
  RouteSocket().SetUp("lo", true);
}

void AddCable(const CableEnd& one, const CableEnd& other) {
  RouteSocket first(*one.where);
  RouteSocket second(*other.where);
  first.AddVeth({.name = one.device}, {.name = other.device, .name_space = other.where});
  first.SetUp(one.device, true);
  second.SetUp(other.device, true);
  WaitForCarrier(first, one.device);
  WaitForCarrier(second, other.device);
  for (const InterfaceAddress& address : one.addresses) first.AddAddress(one.device, address);
  for (const InterfaceAddress& address : other.addresses) second.AddAddress(other.device, address);
}

void AddDefaultRoute(const Namespace& where, const IpAddress& gateway) {
  const Cidr all = Cidr::Parse(gateway.is_v4() ? "0.0.0.0/0" : "::/0");
  RouteSocket(where).AddRoute({.destination = all, .next_hops = {{.gateway = gateway}}});
}

void MakeRouter(const Namespace& where) {
  const ScopedNamespace inside(where);
  WriteSysctl("ipv4/ip_forward", "1");
  WriteSysctl("ipv6/conf/all/forwarding", "1");
  // 1: addresses and ports (Documentation/networking/ip-sysctl.rst).
  WriteSysctl("ipv4/fib_multipath_hash_policy", "1");
  WriteSysctl("ipv6/fib_multipath_hash_policy", "1");
}

}  // namespace sluice::netns
