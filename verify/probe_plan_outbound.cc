// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Probes of applications that call somebody outside, DNS among them.
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "capture/capture_rules.h"
#include "verify/probe_pick.h"
#include "verify/probe_planner.h"

namespace sluice::verify {

void ProbePlanner::AddOutbound() {
  if (!gid_) return;  // no group is captured
  if (config_.outbound_ranges.all) {
    Probe& probe = Add("outbound", Landing::kOutbound, {});
    if (outside_ && outside_port_) {
      probe.destination = {*outside_, *outside_port_};
    } else {
      probe.obstacle = "every address or port is excluded or in use";
    }
  }
  std::vector<Cidr> not_captured = OfFamily(config_.outbound_exclude_ranges);
  not_captured.push_back(capture::LoopbackRange(config_, family_));
  std::vector<Cidr> blocked = blocked_;
  Append(blocked, not_captured);
  for (const Cidr& range : Sample(OfFamily(config_.outbound_ranges.ranges))) {
    // Loopback addresses are captured only on request, and need no route.
    const auto address =
        PickAddress({range}, range.address().IsLoopback() ? not_captured : blocked);
    const auto port = PickPort({kAllPorts}, not_outbound_, site_.probe_port);
    Probe& probe = Add("outbound to " + range.ToString(), Landing::kOutbound, {});
    if (address && port) {
      probe.destination = {*address, *port};
    } else {
      probe.obstacle = "every address of the range is excluded or in use";
    }
  }
  if (config_.outbound_ranges.all || !outside_) return;
  for (const PortRange& ports : Sample(config_.outbound_ports)) {
    const auto port = PickPort({ports}, not_outbound_, site_.probe_port);
    Probe& probe = Add("outbound port " + ports.ToString(), Landing::kOutbound, {});
    if (port) {
      probe.destination = {*outside_, *port};
    } else {
      probe.obstacle = "every such port is excluded";
    }
  }
}

void ProbePlanner::AddOutboundExempt() {
  for (const Cidr& range : Sample(OfFamily(config_.outbound_exclude_ranges))) {
    Probe& probe = Add("exempt: outbound to " + range.ToString(), Landing::kOutside, {});
    const auto address = PickAddress({range}, blocked_);
    const auto port = PickPort({kAllPorts}, not_outbound_, site_.probe_port);
    if (address && port) {
      probe.destination = {*address, *port};
    } else {
      probe.obstacle = "no address of the range can be outside of this pod";
    }
  }
  if (!config_.outbound_ranges.all) {
    std::vector<Cidr> captured = blocked_;
    Append(captured, OfFamily(config_.outbound_ranges.ranges));
    std::vector<PortRange> ports = not_outbound_;
    Append(ports, config_.outbound_ports);
    const auto address = PickAddress({BenchmarkRange(family_)}, captured);
    const auto port = PickPort({kAllPorts}, ports, site_.probe_port);
    if (address && port) {
      Add("exempt: outbound to what is not listed", Landing::kOutside, {*address, *port});
    }
  }
  if (!outside_) return;
  for (const PortRange& ports : Sample(config_.outbound_exclude_ports)) {
    Add("exempt: outbound port " + ports.ToString(), Landing::kOutside,
        {*outside_, *PickPort({ports}, {}, site_.probe_port)});
  }
}

void ProbePlanner::AddExemptOwner(const std::string& who, Owner owner) {
  if (!outside_ || !outside_port_) return;
  Add("exempt: " + who, Landing::kOutside, {*outside_, *outside_port_}).owner = owner;
}

void ProbePlanner::AddOwnersExempt() {
  for (const auto& [who, owner] : ProxyOwners()) AddExemptOwner(who, owner);
  const std::uint32_t gid = gid_.value_or(site_.self.gid);
  for (const std::uint32_t uid : Sample(config_.exclude_uids)) {
    AddExemptOwner("uid " + std::to_string(uid), {uid, gid});
  }
  std::vector<std::uint32_t> gids = config_.exclude_gids;
  Append(gids, config_.owner_groups_exclude);
  for (const std::uint32_t id : Sample(gids)) {
    AddExemptOwner("gid " + std::to_string(id), {uid_, id});
  }
  if (config_.owner_groups) {
    std::vector<std::uint32_t> others = config_.proxy_gids;
    Append(others, *config_.owner_groups);
    const std::uint32_t outsider = *PickId(site_.self.gid, std::nullopt, others);
    AddExemptOwner("gid " + std::to_string(outsider) + ", which is in no group to capture",
                   {uid_, outsider});
  }
}

void ProbePlanner::AddExemptDns(const std::string& path, const IpAddress& resolver, Owner owner) {
  Probe& probe = Add(path, Landing::kOutside, {resolver, kDnsPort});
  probe.protocol = capture::Protocol::kUdp;
  probe.owner = owner;
}

void ProbePlanner::AddDns() {
  const bool exempt_port =
      std::ranges::any_of(config_.outbound_exclude_ports,
                          [](const PortRange& range) { return range.Contains(kDnsPort); });
  if (exempt_port || !gid_) return;
  for (const IpAddress& resolver : Sample(resolvers_)) {
    const bool local = IsLocal(site_, resolver);
    if (local && LoExcluded()) continue;
    const std::string to = config_.capture_all_dns ? "" : " to " + resolver.ToString();
    for (const capture::Protocol protocol : {capture::Protocol::kUdp, capture::Protocol::kTcp}) {
      Probe& probe =
          Add((protocol == capture::Protocol::kUdp ? "DNS over UDP" : "DNS over TCP") + to,
              Landing::kDns, {resolver, kDnsPort});
      probe.protocol = protocol;
      if (resolver.IsLinkLocal() && !resolver.is_v4()) {
        probe.obstacle =
            "the resolver's address is link-local, and /etc/resolv.conf's scope is "
            "not known here";
      }
    }
    if (local || resolver.IsLinkLocal()) continue;
    for (const auto& [who, owner] : ProxyOwners()) {
      AddExemptDns("exempt: DNS of " + who + to, resolver, owner);
    }
  }
}

}  // namespace sluice::verify
