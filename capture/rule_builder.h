// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

// Internal to the policy (capture_rules, dns_rules, tproxy_rules): how it writes rules down.

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

  // The chain of that name; created, behind all others, when it is named for the first time.
  Chain& In(const std::string& name);

  // The finished table.
  TableRules Take();

 private:
  Family family_;
  TableRules rules_;
  std::deque<Chain> chains_;  // a deque, so that references to chains stay good
};

// Writes one sequence of decisions. It begins in a chain, and may have to go on in another one (see
// Only), which nobody who adds rules needs to know.
class Sequence {
 public:
  Sequence(TableBuilder& table, const std::string& chain) : table_(table), chain_(chain) {}

  TableBuilder& table() const { return table_; }
  Family family() const { return table_.family(); }

  void Add(Rule rule) { table_.In(chain_).rules.push_back(std::move(rule)); }

  // Only packets of these interfaces go on; the others return. `further` names the chain to go on
  // in.
  void Only(bool inbound, const std::vector<std::string>& interfaces, const std::string& further);

  // Packets to link-local addresses of IPv6 return. Such a destination means something on one link
  // only: a redirected packet has lost it, and a proxy does not know it.
  void ReturnForLinkLocal();

  // Packets from or to one of the ranges return. `name` is the list's, `rest` that of the chain for
  // the rules behind it, where a backend needs one.
  void ReturnFor(std::vector<Cidr> ranges, RangeOf of, const std::string& name,
                 const std::string& rest);

  // Packets to one of the ranges go to `inside`. The end: nothing is added behind it.
  void SendTo(std::vector<Cidr> ranges, const Target& inside, const std::string& name);

 private:
  TableBuilder& table_;
  std::string chain_;
};

// The ranges of one family, aggregated.
std::vector<Cidr> OfFamily(const std::vector<Cidr>& ranges, Family family);

// One match for each uid and each gid that is the proxy's.
std::vector<OwnerMatch> ProxyOwners(const CaptureConfig& config);

// Conditions on the sender, all of which must hold.
using Matches = std::vector<Match>;

// Users and groups whose outbound traffic is to be left alone, one entry each.
std::vector<Matches> ExcludedOwners(const CaptureConfig& config);

// Who is not captured because of the owner groups: each excluded group, and whoever is in none of
// those to capture.
std::vector<Matches> OwnersOutsideGroups(const CaptureConfig& config);

// --dport `ports` of `protocol`, as the whole condition of a rule.
Rule ToPorts(Protocol protocol, const PortRange& ports, Target target);

// dns_rules.cc: redirection of DNS to the agent, and its conntrack zones.
bool RedirectsDns(const CaptureConfig& config, Family family);
void AddDnsRedirection(const CaptureConfig& config, Sequence& output);
TableRules BuildRaw(const CaptureConfig& config, Family family);

// tproxy_rules.cc: TPROXY, and what is dropped as INVALID.
TableRules BuildMangle(const CaptureConfig& config, Family family);

}  // namespace sluice::capture
