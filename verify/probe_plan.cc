// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "verify/probe_plan.h"

#include <algorithm>
#include <iterator>

#include "base/interface_pattern.h"
#include "verify/probe_pick.h"
#include "verify/probe_planner.h"

namespace sluice::verify {

std::vector<Cidr> ProbePlanner::OfFamily(const std::vector<Cidr>& ranges) const {
  std::vector<Cidr> out;
  std::ranges::copy_if(ranges, std::back_inserter(out),
                       [this](const Cidr& range) { return range.family() == family_; });
  return out;
}

std::vector<IpAddress> ProbePlanner::Resolvers() const {
  if (!config_.redirect_dns) return {};
  if (config_.capture_all_dns) {
    const auto any = PickAddress({BenchmarkRange(family_)}, blocked_);
    return any ? std::vector{*any} : std::vector<IpAddress>{};
  }
  std::vector<IpAddress> out;
  for (const IpAddress& server : config_.dns_servers) {
    if (server.family() == family_ && !Contains(out, server)) out.push_back(server);
  }
  return out;
}

bool ProbePlanner::LoExcluded() const {
  return std::ranges::any_of(config_.exclude_interfaces, [](const std::string& pattern) {
    return MatchesInterface(pattern, "lo");
  });
}

bool ProbePlanner::CapturesLoopback() const {
  return std::ranges::any_of(config_.outbound_ranges.ranges,
                             [](const Cidr& range) { return range.address().IsLoopback(); });
}

std::vector<std::pair<std::string, Owner>> ProbePlanner::ProxyOwners() const {
  std::vector<std::pair<std::string, Owner>> out;
  const std::uint32_t gid = gid_.value_or(site_.self.gid);
  for (const std::uint32_t uid : Sample(config_.proxy_uids)) {
    const bool ourselves = site_.only_self && uid == site_.self.uid;
    out.push_back(
        {"the proxy's uid " + std::to_string(uid), ourselves ? site_.self : Owner{uid, gid}});
  }
  for (const std::uint32_t id : Sample(config_.proxy_gids)) {
    const bool ourselves = site_.only_self && id == site_.self.gid;
    out.push_back(
        {"the proxy's gid " + std::to_string(id), ourselves ? site_.self : Owner{uid_, id}});
  }
  return out;
}

Probe& ProbePlanner::Add(std::string path, Landing expected, SocketAddress destination) {
  Probe probe{.family = family_,
              .path = std::move(path),
              .expected = expected,
              .owner = {uid_, gid_.value_or(site_.self.gid)},
              .destination = destination};
  return probes_.emplace_back(std::move(probe));
}

void ProbePlanner::FindOrdinaryOwner() {
  std::vector<std::uint32_t> uids = config_.proxy_uids;
  Append(uids, config_.exclude_uids);
  uid_ = *PickId(site_.self.uid, std::nullopt, uids);
  std::vector<std::uint32_t> gids = config_.proxy_gids;
  Append(gids, config_.exclude_gids);
  Append(gids, config_.owner_groups_exclude);
  gid_ = PickId(site_.self.gid, config_.owner_groups, gids);
}

void ProbePlanner::FindOutside() {
  blocked_ = NeverOutside(family_);
  Append(blocked_, site_.in_use);
  resolvers_ = Resolvers();
  not_outbound_ = config_.outbound_exclude_ports;
  if (!resolvers_.empty()) not_outbound_.push_back(PortRange::Single(kDnsPort));

  std::vector<Cidr> not_captured = blocked_;
  Append(not_captured, OfFamily(config_.outbound_exclude_ranges));
  const Cidr everything(
      IpAddress::FromBytes(std::vector<std::uint8_t>(family_ == Family::kIpv4 ? 4U : 16U)), 0);
  if (config_.outbound_ranges.all) {
    outside_ = PickAddress({BenchmarkRange(family_), everything}, not_captured);
  } else if (const auto ranges = OfFamily(config_.outbound_ranges.ranges); !ranges.empty()) {
    outside_ = PickAddress(ranges, not_captured);
  }
  if (outside_) {
    outside_port_ = PickPort({kAllPorts}, not_outbound_, site_.probe_port);
  } else if (!config_.outbound_ports.empty()) {
    outside_ = PickAddress({BenchmarkRange(family_), everything}, not_captured);
    outside_port_ = PickPort(config_.outbound_ports, not_outbound_, site_.probe_port);
  }
}

void ProbePlanner::FindInbound() {
  for (const std::uint16_t port :
       {config_.outbound_port, config_.inbound_port, config_.tunnel_port, config_.dns_port}) {
    proxy_ports_.push_back(PortRange::Single(port));
  }
  std::vector<Cidr> not_captured = blocked_;
  Append(not_captured, OfFamily(config_.inbound_exclude_ranges));
  client_ = PickAddress({BenchmarkRange(family_)}, not_captured);
  std::vector<PortRange> blocked = proxy_ports_;
  if (config_.inbound_ports.all) {
    Append(blocked, config_.inbound_exclude_ports);
    inbound_port_ = PickPort({kAllPorts}, blocked, site_.probe_port);
  } else {
    inbound_port_ = PickPort(config_.inbound_ports.ports, blocked, site_.probe_port);
  }
}

std::vector<Probe> ProbePlanner::Take() {
  FindOrdinaryOwner();
  FindOutside();
  FindInbound();
  AddInbound();
  AddInboundExempt();
  AddOutbound();
  AddOutboundExempt();
  AddOwnersExempt();
  AddDns();
  // Packets through the probe interface prove nothing if that is never captured.
  if (!site_.interface_captured) {
    for (Probe& probe : probes_) {
      if (probe.client || !IsLocal(site_, probe.destination.ip)) {
        probe.obstacle = site_.has_link
                             ? "no name of an interface of our own would be captured by "
                               "--include-interfaces and --istio-exclude-interfaces"
                             : "nothing that passes interface " + site_.interface + " is captured";
      }
    }
  }
  AddSelfCalls();
  AddInsidePod();
  AddUnreachable();
  // A listener for both counts as the inbound one.
  for (Probe& probe : probes_) {
    const bool shared = config_.outbound_port == config_.inbound_port;
    if (shared && probe.expected == Landing::kOutbound) probe.expected = Landing::kInbound;
  }
  return std::move(probes_);
}

bool IsLocal(const ProbeSite& site, const IpAddress& address) {
  return address.IsLoopback() || address == site.pod || Contains(site.local, address);
}

std::vector<Probe> PlanProbes(const capture::CaptureConfig& config, const ProbeSite& site) {
  return ProbePlanner(config, site).Take();
}

ProbePacket PacketOf(const Probe& probe, const ProbeSite& site) {
  ProbePacket out;
  out.packet.destination = probe.destination.ip;
  out.packet.destination_port = probe.destination.port;
  out.packet.protocol = probe.protocol;
  if (probe.client) {
    out.hook = capture::Hook::kPrerouting;
    out.packet.source = *probe.client;
    out.packet.in_interface = site.interface;
    out.packet.has_taker = probe.expected != Landing::kRefused;
    return out;
  }
  out.packet.source = probe.bind.value_or(site.pod);
  out.packet.out_interface = IsLocal(site, probe.destination.ip) ? "lo" : site.interface;
  out.packet.uid = probe.owner.uid;
  out.packet.gid = probe.owner.gid;
  return out;
}

}  // namespace sluice::verify
