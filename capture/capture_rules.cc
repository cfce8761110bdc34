// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/capture_rules.h"

#include <algorithm>
#include <array>
#include <bit>
#include <iterator>

#include "base/pod_contract.h"
#include "capture/rule_builder.h"

namespace sluice::capture {
namespace {

bool IncludesLoopback(const CaptureConfig& config) {
  return std::ranges::any_of(config.outbound_ranges.ranges,
                             [](const Cidr& range) { return range.address().IsLoopback(); });
}

// Traffic that arrives from virtual machines behind an interface is leaving the pod, so it is
// treated as outbound.
void AddVirtInterfaces(const CaptureConfig& config, Sequence& inbound) {
  if (config.virt_interfaces.empty()) return;
  const auto included = OfFamily(config.outbound_ranges.ranges, inbound.family());
  Target target = Jump{"ISTIO_REDIRECT"};
  if (!config.outbound_ranges.all) target = Jump{"ISTIO_VIRT_OUTPUT"};
  for (const std::string& name : config.virt_interfaces) {
    if (config.outbound_ranges.all || !included.empty()) {
      inbound.Add({.in_interface = Is(name), .protocol = Protocol::kTcp, .target = target});
    }
    inbound.Add({.in_interface = Is(name), .target = Return{}});
  }
  if (!config.outbound_ranges.all && !included.empty()) {
    Sequence(inbound.table(), "ISTIO_VIRT_OUTPUT")
        .SendTo(included, Jump{"ISTIO_REDIRECT"}, "ISTIO_VIRT_INCLUDE");
  }
}

// Captures only while somebody listens, and refuses otherwise. What nobody listens for is refused,
// not left alone: a socket that starts to listen a moment later would get it past the proxy.
void AddListening(TableBuilder& nat) {
  Sequence listening(nat, "ISTIO_IN_LISTENING");
  listening.Add({.protocol = Protocol::kTcp,
                 .matches = {SocketMatch{}},
                 .target = Jump{"ISTIO_IN_REDIRECT"}});
  listening.Add({.protocol = Protocol::kTcp, .target = Redirect{pod::kRefusedPort}});
}

void AddInboundPorts(const CaptureConfig& config, Sequence& inbound) {
  const Jump captured{config.capture_listening ? "ISTIO_IN_LISTENING" : "ISTIO_IN_REDIRECT"};
  inbound.Add(ToPorts(Protocol::kTcp, PortRange::Single(config.tunnel_port), Return{}));
  if (config.inbound_ports.all) {
    for (const PortRange& ports : config.inbound_exclude_ports) {
      inbound.Add(ToPorts(Protocol::kTcp, ports, Return{}));
    }
    inbound.Add({.protocol = Protocol::kTcp, .target = captured});
  } else {
    for (const PortRange& ports : config.inbound_ports.ports) {
      inbound.Add(ToPorts(Protocol::kTcp, ports, captured));
    }
  }
  if (config.capture_listening) AddListening(inbound.table());
}

void AddInbound(const CaptureConfig& config, TableBuilder& nat) {
  const bool captures = config.mode == InterceptionMode::kRedirect && !config.inbound_ports.empty();
  if (!captures && config.virt_interfaces.empty()) return;
  nat.JumpFrom(Hook::kPrerouting, {.protocol = Protocol::kTcp, .target = Jump{"ISTIO_INBOUND"}});
  Sequence inbound(nat, "ISTIO_INBOUND");
  inbound.ReturnForLinkLocal();
  AddVirtInterfaces(config, inbound);
  if (!captures) return;
  for (const std::string& name : config.exclude_interfaces) {
    inbound.Add({.in_interface = Is(name), .target = Return{}});
  }
  inbound.Only(true, config.include_interfaces, "ISTIO_INBOUND_INCLUDED");
  inbound.ReturnFor(OfFamily(config.inbound_exclude_ranges, nat.family()), RangeOf::kSource,
                    "ISTIO_INBOUND_EXCLUDE", "ISTIO_INBOUND_PORTS");
  AddInboundPorts(config, inbound);
}

// The proxy's own traffic. All rules that match the proxy come before rules that match anything
// else, so that each of several uids and gids gets its turn.
void AddProxyEscape(const CaptureConfig& config, Sequence& output) {
  // The proxy's connections to the application: source 127.0.0.6 keeps them from being captured.
  output.Add(
      {.source = Is(Cidr(pod::PassthroughSource(output.family()), AddressBits(output.family()))),
       .out_interface = Is("lo"),
       .target = Return{}});
  // In TPROXY mode their source is the client's address; the mark identifies them instead.
  if (config.mode == InterceptionMode::kTproxy && !config.inbound_ports.empty()) {
    output.Add({.out_interface = Is("lo"),
                .protocol = Protocol::kTcp,
                .matches = {MarkMatch{Is(MarksOf(config).inbound)}},
                .target = Return{}});
  }
  for (const Matches& owner : ExcludedOwners(config)) {
    output.Add({.matches = owner, .target = Return{}});
  }
  for (const OwnerMatch& owner : ProxyOwners(config)) {
    // The proxy's DNS queries go to the resolver even if that is local, by uid and by gid.
    if (RedirectsDns(config, output.family())) {
      Rule dns = ToPorts(Protocol::kTcp, PortRange::Single(53), Return{});
      dns.out_interface = Is("lo");
      dns.matches.push_back(owner);
      output.Add(std::move(dns));
    }
    // A call to its own pod through a service address is inbound traffic: application -> proxy
    // (outbound) -> proxy (inbound) -> application.
    output.Add(
        {.destination = Not(LoopbackRange(config, output.family())),
         .out_interface = Is("lo"),
         .protocol = Protocol::kTcp,
         .matches = {PortMatch{.destination = Not(PortRange::Single(config.tunnel_port))}, owner},
         .target = Jump{"ISTIO_IN_REDIRECT"}});
  }
  for (const OwnerMatch& owner : ProxyOwners(config)) {
    output.Add({.matches = {owner}, .target = Return{}});
  }
}

// From here on the sender is not the proxy. Traffic within the pod is left alone, unless the
// configuration names loopback addresses to capture.
void AddLoopback(const CaptureConfig& config, Sequence& output) {
  if (IncludesLoopback(config)) return;
  if (RedirectsDns(config, output.family())) {
    // A resolver on a local address is captured like any other.
    output.Add({.out_interface = Is("lo"),
                .protocol = Protocol::kTcp,
                .matches = {PortMatch{.destination = Not(PortRange::Single(53))}},
                .target = Return{}});
  } else {
    output.Add({.out_interface = Is("lo"), .target = Return{}});
  }
}

void AddOwnerGroups(const CaptureConfig& config, Sequence& output) {
  for (const Matches& owner : OwnersOutsideGroups(config)) {
    output.Add({.matches = owner, .target = Return{}});
  }
}

void AddOutboundDestinations(const CaptureConfig& config, Sequence& output) {
  output.Add({.destination = Is(LoopbackRange(config, output.family())), .target = Return{}});
  output.ReturnForLinkLocal();
  output.ReturnFor(OfFamily(config.outbound_exclude_ranges, output.family()), RangeOf::kDestination,
                   "ISTIO_OUTPUT_EXCLUDE", "ISTIO_OUTPUT_PORTS");
  for (const PortRange& ports : config.outbound_ports) {
    output.Add(ToPorts(Protocol::kTcp, ports, Jump{"ISTIO_REDIRECT"}));
  }
  if (config.outbound_ranges.all) {
    output.Add({.target = Jump{"ISTIO_REDIRECT"}});
  } else {
    output.SendTo(OfFamily(config.outbound_ranges.ranges, output.family()), Jump{"ISTIO_REDIRECT"},
                  "ISTIO_OUTPUT_INCLUDE");
  }
}

void AddOutbound(const CaptureConfig& config, TableBuilder& nat) {
  nat.JumpFrom(Hook::kOutput, {.target = Jump{"ISTIO_OUTPUT"}});
  Sequence output(nat, "ISTIO_OUTPUT");
  for (const std::string& name : config.exclude_interfaces) {
    output.Add({.out_interface = Is(name), .target = Return{}});
  }
  output.Only(false, config.include_interfaces, "ISTIO_OUTPUT_INCLUDED");
  for (const PortRange& ports : config.outbound_exclude_ports) {
    output.Add(ToPorts(Protocol::kTcp, ports, Return{}));
    output.Add(ToPorts(Protocol::kUdp, ports, Return{}));
  }
  AddProxyEscape(config, output);
  AddLoopback(config, output);
  AddOwnerGroups(config, output);
  AddDnsRedirection(config, output);
  AddOutboundDestinations(config, output);
}

// The kernel refuses the target without `-p tcp`: a port needs a protocol.
void AddRedirects(const CaptureConfig& config, TableBuilder& nat) {
  nat.In("ISTIO_REDIRECT")
      .rules.push_back({.protocol = Protocol::kTcp, .target = Redirect{config.outbound_port}});
  nat.In("ISTIO_IN_REDIRECT")
      .rules.push_back({.protocol = Protocol::kTcp, .target = Redirect{config.inbound_port}});
}

FamilyRules BuildFamily(const CaptureConfig& config, Family family) {
  TableBuilder nat(Table::kNat, family);
  AddInbound(config, nat);
  AddOutbound(config, nat);
  AddRedirects(config, nat);
  return {family, {BuildRaw(config, family), BuildMangle(config, family), nat.Take()}};
}

FamilyRules Nothing(Family family) {
  FamilyRules rules{.family = family};
  for (const Table table : kTables) rules.tables.push_back({.table = table});
  return rules;
}

}  // namespace

Cidr LoopbackRange(const CaptureConfig& config, Family family) {
  constexpr std::array<std::uint8_t, 16> kV6 = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  return family == Family::kIpv4 ? config.loopback_range : Cidr(IpAddress::FromBytes(kV6), 128);
}

TproxyMarks MarksOf(const CaptureConfig& config) {
  const auto bits =
      std::max(std::bit_width(config.tproxy_mark), std::bit_width(pod::kOutboundMark));
  const auto mask = static_cast<std::uint32_t>((std::uint64_t{1} << bits) - 1);
  return {.inbound = {config.tproxy_mark, mask}, .outbound = {pod::kOutboundMark, mask}};
}

RuleSet BuildRules(const CaptureConfig& config) {
  return {.v4 = BuildFamily(config, Family::kIpv4),
          .v6 = config.ipv6 ? BuildFamily(config, Family::kIpv6) : Nothing(Family::kIpv6)};
}

std::optional<PolicyRouting> BuildPolicyRouting(const CaptureConfig& config) {
  if (config.mode != InterceptionMode::kTproxy || config.inbound_ports.empty()) return {};
  return PolicyRouting{MarksOf(config).inbound, config.tproxy_route_table};
}

}  // namespace sluice::capture
