// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Probes that stay inside the pod, and what no probe can reach.
#include <string>
#include <vector>

#include "base/pod_contract.h"
#include "verify/probe_pick.h"
#include "verify/probe_planner.h"

namespace sluice::verify {

// application -> proxy -> its own pod: the second half.
void ProbePlanner::AddSelfCalls() {
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

void ProbePlanner::AddInsidePod() {
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

void ProbePlanner::AddUnreachable() {
  for (const std::string& name : config_.exclude_interfaces) {
    Add("exempt: interface " + name, Landing::kDirect, {}).obstacle =
        "probes pass an interface of their own";
  }
  for (const std::string& name : config_.virt_interfaces) {
    Add("inbound of virtual machines on " + name, Landing::kOutbound, {}).obstacle =
        "probes pass an interface of their own";
  }
}

}  // namespace sluice::verify
