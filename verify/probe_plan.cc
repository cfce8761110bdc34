// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "verify/probe_plan.h"

#include <algorithm>
#include <iterator>

#include "base/interface_pattern.h"
#include "base/pod_contract.h"
#include "capture/capture_rules.h"
#include "verify/probe_pick.h"

namespace sluice::verify {
namespace {

using capture::CaptureConfig;
using capture::Protocol;

constexpr PortRange kAllPorts = {1, 65535};
constexpr std::uint16_t kDnsPort = 53;

template <typename T>
void Append(std::vector<T>& to, const std::vector<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

template <typename T>
bool Contains(const std::vector<T>& values, const T& value) {
  return std::ranges::find(values, value) != values.end();
}

template <typename T>
std::vector<T> Sample(const std::vector<T>& values) {
  if (values.size() <= kProbesPerList) return values;
  std::vector<T> out;
  for (std::size_t i = 0; i < kProbesPerList; ++i) {
    out.push_back(values[i * (values.size() - 1) / (kProbesPerList - 1)]);
  }
  return out;
}

// Plans the probes of one family.
class Planner {
 public:
  Planner(const capture::CaptureConfig& config, const ProbeSite& site)
      : config_(config), site_(site), family_(site.pod.family()) {}

  std::vector<Probe> Take();

 private:
  void FindOrdinaryOwner();
  void FindOutside();
  void FindInbound();
  void AddInbound();
  void AddInboundExempt();
  void AddOutbound();
  void AddOutboundExempt();
  void AddOwnersExempt();
  void AddSelfCalls();
  void AddDns();
  void AddInsidePod();
  void AddUnreachable();

  Probe& Add(std::string path, Landing expected, SocketAddress destination);
  void AddInboundTo(const std::string& path, Landing expected, std::optional<std::uint16_t> port);
  void AddExemptOwner(const std::string& who, Owner owner);
  void AddExemptDns(const std::string& path, const IpAddress& resolver, Owner owner);

  std::vector<Cidr> OfFamily(const std::vector<Cidr>& ranges) const;
  std::vector<IpAddress> Resolvers() const;
  bool LoExcluded() const;
  bool CapturesLoopback() const;
  // Each uid and gid of the proxy, combined with an ordinary gid or uid; or our own ids, if we
  // cannot use others.
  std::vector<std::pair<std::string, Owner>> ProxyOwners() const;

  const capture::CaptureConfig& config_;
  const ProbeSite& site_;
  const Family family_;
  std::vector<Probe> probes_;

  std::uint32_t uid_ = 0;  // of an application that is not exempt
  std::optional<std::uint32_t> gid_;
  std::vector<Cidr> blocked_;           // cannot be outside
  std::vector<PortRange> proxy_ports_;  // where we listen instead of the proxy
  std::vector<PortRange> not_outbound_;
  std::vector<IpAddress> resolvers_;
  std::optional<IpAddress> outside_;  // captured, if anything is
  std::optional<std::uint16_t> outside_port_;
  std::optional<IpAddress> client_;
  std::optional<std::uint16_t> inbound_port_;
};

std::vector<Cidr> Planner::OfFamily(const std::vector<Cidr>& ranges) const {
  std::vector<Cidr> out;
  std::ranges::copy_if(ranges, std::back_inserter(out),
                       [this](const Cidr& range) { return range.family() == family_; });
  return out;
}

std::vector<IpAddress> Planner::Resolvers() const {
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

bool Planner::LoExcluded() const {
  return std::ranges::any_of(config_.exclude_interfaces, [](const std::string& pattern) {
    return MatchesInterface(pattern, "lo");
  });
}

bool Planner::CapturesLoopback() const {
  return std::ranges::any_of(config_.outbound_ranges.ranges,
                             [](const Cidr& range) { return range.address().IsLoopback(); });
}

std::vector<std::pair<std::string, Owner>> Planner::ProxyOwners() const {
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

Probe& Planner::Add(std::string path, Landing expected, SocketAddress destination) {
  Probe probe{.family = family_,
              .path = std::move(path),
              .expected = expected,
              .owner = {uid_, gid_.value_or(site_.self.gid)},
              .destination = destination};
  return probes_.emplace_back(std::move(probe));
}

void Planner::FindOrdinaryOwner() {
  std::vector<std::uint32_t> uids = config_.proxy_uids;
  Append(uids, config_.exclude_uids);
  uid_ = *PickId(site_.self.uid, std::nullopt, uids);
  std::vector<std::uint32_t> gids = config_.proxy_gids;
  Append(gids, config_.exclude_gids);
  Append(gids, config_.owner_groups_exclude);
  gid_ = PickId(site_.self.gid, config_.owner_groups, gids);
}

void Planner::FindOutside() {
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

void Planner::FindInbound() {
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

// Adds a client outside that calls the pod.
void Planner::AddInboundTo(const std::string& path, Landing expected,
                           std::optional<std::uint16_t> port) {
  Probe& probe = Add(path, expected, {site_.pod, port.value_or(0)});
  probe.client = client_;
  if (!port) probe.obstacle = "every such port is one of the proxy's own";
  if (!client_) probe.obstacle = "no source address is free for a client to be captured";
}

void Planner::AddInbound() {
  if (config_.inbound_ports.empty()) return;
  const auto add = [this](const std::string& path, std::optional<std::uint16_t> port) {
    AddInboundTo(path, Landing::kInbound, port);
    probes_.back().needs_application = config_.capture_listening;
  };
  if (config_.inbound_ports.all) add("inbound", inbound_port_);
  for (const PortRange& ports : Sample(config_.inbound_ports.ports)) {
    add("inbound port " + ports.ToString(), PickPort({ports}, proxy_ports_, site_.probe_port));
  }
  if (config_.capture_listening) {
    AddInboundTo("inbound where nobody listens", Landing::kRefused, inbound_port_);
  }
}

void Planner::AddInboundExempt() {
  if (config_.inbound_ports.empty()) return;
  // TPROXY does not exempt it, as in istio-iptables.
  if (config_.mode == capture::InterceptionMode::kRedirect) {
    AddInboundTo("exempt: tunnel port " + std::to_string(config_.tunnel_port), Landing::kDirect,
                 config_.tunnel_port);
  }
  std::vector<PortRange> captured_by_others = proxy_ports_;
  if (config_.inbound_ports.all) {
    for (const PortRange& ports : Sample(config_.inbound_exclude_ports)) {
      AddInboundTo("exempt: inbound port " + ports.ToString(), Landing::kDirect,
                   PickPort({ports}, proxy_ports_, site_.probe_port));
    }
  } else {
    Append(captured_by_others, config_.inbound_ports.ports);
    AddInboundTo("exempt: inbound port not listed", Landing::kDirect,
                 PickPort({kAllPorts}, captured_by_others, site_.probe_port));
  }
  for (const Cidr& range : Sample(OfFamily(config_.inbound_exclude_ranges))) {
    AddInboundTo("exempt: inbound from " + range.ToString(), Landing::kDirect, inbound_port_);
    Probe& probe = probes_.back();
    if (probe.obstacle.empty() || !client_) {
      probe.client = PickAddress({range}, blocked_);
      probe.obstacle = probe.client ? "" : "no address of the range is free for a client";
    }
  }
}

void Planner::AddOutbound() {
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

void Planner::AddOutboundExempt() {
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

void Planner::AddExemptOwner(const std::string& who, Owner owner) {
  if (!outside_ || !outside_port_) return;
  Add("exempt: " + who, Landing::kOutside, {*outside_, *outside_port_}).owner = owner;
}

void Planner::AddOwnersExempt() {
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

// application -> proxy -> its own pod: the second half.
void Planner::AddSelfCalls() {
  if (LoExcluded()) return;
  std::vector<PortRange> blocked = config_.outbound_exclude_ports;
  Append(blocked, proxy_ports_);
  blocked.push_back(PortRange::Single(kDnsPort));
  const auto port = PickPort({kAllPorts}, blocked, site_.probe_port);
  if (!port) return;
  for (const auto& [who, owner] : ProxyOwners()) {
    // Owners that are exempt altogether are exempt here, too.
    if (Contains(config_.exclude_uids, owner.uid) || Contains(config_.exclude_gids, owner.gid)) {
      continue;
    }
    Add("self-call of " + who, Landing::kInbound, {site_.pod, *port}).owner = owner;
  }
}

void Planner::AddExemptDns(const std::string& path, const IpAddress& resolver, Owner owner) {
  Probe& probe = Add(path, Landing::kOutside, {resolver, kDnsPort});
  probe.protocol = capture::Protocol::kUdp;
  probe.owner = owner;
}

void Planner::AddDns() {
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

void Planner::AddInsidePod() {
  if (!CapturesLoopback()) {
    const IpAddress loopback =
        family_ == Family::kIpv4 ? IpAddress::V4(127, 0, 0, 1) : IpAddress::Parse("::1");
    Add("exempt: loopback", Landing::kDirect, {loopback, 0});
    // A different rule: the destination is not a loopback address, but still goes through lo.
    Add("exempt: the application's call of its own pod", Landing::kDirect, {site_.pod, 0});
  }
  if (config_.inbound_ports.empty()) return;
  const auto owners = ProxyOwners();
  Probe& probe =
      Add("exempt: the proxy's call of the application", Landing::kDirect, {site_.pod, 0});
  probe.owner = owners.front().second;
  probe.bind = pod::PassthroughSource(family_);
}

void Planner::AddUnreachable() {
  for (const std::string& name : config_.exclude_interfaces) {
    Add("exempt: interface " + name, Landing::kDirect, {}).obstacle =
        "probes pass an interface of their own";
  }
  for (const std::string& name : config_.virt_interfaces) {
    Add("inbound of virtual machines on " + name, Landing::kOutbound, {}).obstacle =
        "probes pass an interface of their own";
  }
}

std::vector<Probe> Planner::Take() {
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

}  // namespace

bool IsLocal(const ProbeSite& site, const IpAddress& address) {
  return address.IsLoopback() || address == site.pod || Contains(site.local, address);
}

std::vector<Probe> PlanProbes(const capture::CaptureConfig& config, const ProbeSite& site) {
  return Planner(config, site).Take();
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
