// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "test/support/pod_network.h"

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>

#include <gtest/gtest.h>

#include "netns/cable.h"
#include "netns/route_socket.h"

namespace sluice::testing_support {
namespace {

using netns::CableEnd;
using netns::InterfaceAddress;
using netns::Namespace;
using netns::RouteSocket;

std::vector<InterfaceAddress> Parse(std::initializer_list<std::string_view> texts) {
  std::vector<InterfaceAddress> out;
  for (const std::string_view text : texts) out.push_back(InterfaceAddress::Parse(text));
  return out;
}

void AddAddresses(const Namespace& where, std::string_view device,
                  const std::vector<InterfaceAddress>& addresses) {
  RouteSocket routes(where);
  for (const InterfaceAddress& address : addresses) routes.AddAddress(device, address);
}

}  // namespace

Namespaces::~Namespaces() {
  if (!testing::Test::HasFailure()) return;
  const char* const pause = std::getenv("SLUICE_PAUSE");
  const bool pausing = pause != nullptr && std::string_view(pause) == "1";
  for (const auto& [label, where] : namespaces_) {
    std::cerr << label << ": nsenter --net=/proc/" << getpid() << "/fd/" << where->fd() << '\n';
  }
  if (!pausing) {
    std::cerr << "(set SLUICE_PAUSE=1 to keep them: the test then stops here)\n";
    return;
  }
  std::cerr << "stopped; go on with: kill -CONT " << getpid() << std::endl;
  static_cast<void>(raise(SIGSTOP));
}

const Namespace& Namespaces::Add(std::string label) {
  auto made = std::make_unique<Namespace>(Namespace::CreateAnonymous());
  netns::PrepareNamespace(*made);
  return *namespaces_.emplace_back(std::move(label), std::move(made)).second;
}

PodNetwork::PodNetwork(Ipv6 ipv6)
    : pod_(namespaces_.Add("pod")), outside_(namespaces_.Add("outside")) {
  const bool v6 = ipv6 == Ipv6::kYes;
  for (const int i : {0, 1}) {
    const std::string device = "eth" + std::to_string(i);
    const std::string v4_net = "192.0." + std::to_string(2 + i) + ".";
    const std::string v6_net = "fd00:" + std::to_string(2 + i) + "::";
    CableEnd inside = {&pod_, device, Parse({v4_net + "2/24"})};
    CableEnd outside = {&outside_, device, Parse({v4_net + "1/24"})};
    if (v6) {
      inside.addresses.push_back(InterfaceAddress::Parse(v6_net + "2/64"));
      outside.addresses.push_back(InterfaceAddress::Parse(v6_net + "1/64"));
    }
    netns::AddCable(inside, outside);
  }
  AddAddresses(outside_, "lo", Parse({"198.51.100.1", "203.0.113.9", "10.96.0.10"}));
  netns::AddDefaultRoute(pod_, IpAddress::Parse("192.0.2.1"));
  if (!v6) return;
  AddAddresses(outside_, "lo", Parse({"2001:db8::1", "2001:db8:ffff::1"}));
  netns::AddDefaultRoute(pod_, IpAddress::Parse("fd00:2::1"));
}

IpAddress Cluster::PodIp(int pod, Family family) {
  const std::string number = std::to_string(pod);
  return IpAddress::Parse(family == Family::kIpv4 ? "10.244." + number + ".2"
                                                  : "fd00:244:" + number + "::2");
}

IpAddress Cluster::ServiceIp(Family family) {
  return IpAddress::Parse(family == Family::kIpv4 ? "10.96.0.10" : "fd00:96::10");
}

Cluster::Cluster(int servers) : node_(namespaces_.Add("node")) {
  netns::MakeRouter(node_);
  for (int pod = 0; pod <= servers; ++pod) {
    const std::string number = std::to_string(pod);
    const std::string v4_net = "10.244." + number + ".";
    const std::string v6_net = "fd00:244:" + number + "::";
    pods_.push_back(&namespaces_.Add(pod == 0 ? "client" : "server " + number));
    netns::AddCable({pods_.back(), "eth0", Parse({v4_net + "2/24", v6_net + "2/64"})},
                    {&node_, "pod" + number, Parse({v4_net + "1/24", v6_net + "1/64"})});
    netns::AddDefaultRoute(*pods_.back(), IpAddress::Parse(v4_net + "1"));
    netns::AddDefaultRoute(*pods_.back(), IpAddress::Parse(v6_net + "1"));
  }
  if (servers == 0) return;
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    const InterfaceAddress service = InterfaceAddress::Host(ServiceIp(family));
    netns::Route spread = {.destination = service.Subnet()};
    for (int pod = 1; pod <= servers; ++pod) {
      AddAddresses(server(pod), "lo", {service});
      spread.next_hops.push_back(
          {.device = "pod" + std::to_string(pod), .gateway = PodIp(pod, family)});
    }
    RouteSocket(node_).AddRoute(spread);
  }
}

}  // namespace sluice::testing_support
