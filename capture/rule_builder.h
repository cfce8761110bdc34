// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

// Internal to the policy (capture_rules, dns_rules, tproxy_rules): how it writes rules.

#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "capture/capture_config.h"
#include "capture/rule.h"

namespace sluice::capture {

// Collects the chains of one table.
class TableBuilder {
 public:
  TableBuilder(Table table, Family family) : family_(family), rules_{.table = table} {}

  Family family() const { return family_; }

  void JumpFrom(Hook hook, Rule rule) { rules_.jumps.push_back({hook, std::move(rule)}); }

  // The chain of that name; created at the end when first used.
  Chain& In(const std::string& name);

  // The finished table.
  TableRules Take();

 private:
  Family family_;
  TableRules rules_;
  std::deque<Chain> chains_;  // a deque keeps references to chains valid
};

// Writes one sequence of decisions. It may have to continue in another chain (see Only); callers
// that add rules need not care.
class Sequence {
 public:
  Sequence(TableBuilder& table, const std::string& chain) : table_(table), chain_(chain) {}

  TableBuilder& table() const { return table_; }
  Family family() const { return table_.family(); }

  void Add(Rule rule) { table_.In(chain_).rules.push_back(std::move(rule)); }

  // Only packets of these interfaces continue; the others return. `further` names the chain to
  // continue in.
  void Only(bool inbound, const std::vector<std::string>& interfaces, const std::string& further);

  // Packets to IPv6 link-local addresses return. Such an address is valid on one link only: a
  // redirected packet loses the link, and the proxy does not know it.
  void ReturnForLinkLocal();

  // Packets from or to one of the ranges return. `name` is the name of the list, `rest` that of the
  // chain for the following rules, where a backend needs one.
  void ReturnFor(std::vector<Cidr> ranges, RangeOf of, const std::string& name,
                 const std::string& rest);

  // Packets to one of the ranges go to `inside`. Must be the last call.
  void SendTo(std::vector<Cidr> ranges, const Target& inside, const std::string& name);

 private:
  TableBuilder& table_;
  std::string chain_;
};

// The ranges of one family, aggregated.
std::vector<Cidr> OfFamily(const std::vector<Cidr>& ranges, Family family);

// One match for each of the proxy's uids and gids.
std::vector<OwnerMatch> ProxyOwners(const CaptureConfig& config);

// Conditions on the sender; all must hold.
using Matches = std::vector<Match>;

// Users and groups whose outbound traffic is left alone, one entry each.
std::vector<Matches> ExcludedOwners(const CaptureConfig& config);

// Senders that are not captured because of the owner groups: each excluded group, and everyone in
// none of the groups to capture.
std::vector<Matches> OwnersOutsideGroups(const CaptureConfig& config);

// A rule whose only condition is --dport `ports` of `protocol`.
Rule ToPorts(Protocol protocol, const PortRange& ports, Target target);

// dns_rules.cc: redirection of DNS to the agent, and its conntrack zones.
bool RedirectsDns(const CaptureConfig& config, Family family);
void AddDnsRedirection(const CaptureConfig& config, Sequence& output);
TableRules BuildRaw(const CaptureConfig& config, Family family);

// tproxy_rules.cc: TPROXY, and dropping INVALID packets.
TableRules BuildMangle(const CaptureConfig& config, Family family);

}  // namespace sluice::capture
