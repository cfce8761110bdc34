// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/rule_builder.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace sluice::capture {

Chain& TableBuilder::In(const std::string& name) {
  const auto found = std::ranges::find(chains_, name, &Chain::name);
  if (found != chains_.end()) return *found;
  return chains_.emplace_back(Chain{.name = name, .rules = {}});
}

TableRules TableBuilder::Take() {
  rules_.chains.assign(std::make_move_iterator(chains_.begin()),
                       std::make_move_iterator(chains_.end()));
  return std::move(rules_);
}

void Sequence::Only(bool inbound, const std::vector<std::string>& interfaces,
                    const std::string& further) {
  if (interfaces.empty()) return;
  const auto add = [&](const std::string& name) {
    Rule rule{.target = Goto{further}};
    (inbound ? rule.in_interface : rule.out_interface) = Is(name);
    Add(std::move(rule));
  };
  // The proxy's calls to its own pod come through lo, whatever interface a client uses.
  if (std::ranges::find(interfaces, "lo") == interfaces.end()) add("lo");
  for (const std::string& name : interfaces) add(name);
  chain_ = further;
}

void Sequence::ReturnForLinkLocal() {
  if (family() != Family::kIpv6) return;
  constexpr std::array<std::uint8_t, 16> kLinkLocal = {0xfe, 0x80};
  Add({.destination = Is(Cidr(IpAddress::FromBytes(kLinkLocal), 10)), .target = Return{}});
}

void Sequence::ReturnFor(std::vector<Cidr> ranges, RangeOf of, const std::string& name,
                         const std::string& rest) {
  if (ranges.empty()) return;
  Add({.list = RangeList{of, std::move(ranges), name, rest}, .target = Return{}});
}

void Sequence::SendTo(std::vector<Cidr> ranges, const Target& inside, const std::string& name) {
  if (ranges.empty()) return;
  Add({.list = RangeList{RangeOf::kDestination, std::move(ranges), name, {}}, .target = inside});
}

std::vector<Cidr> OfFamily(const std::vector<Cidr>& ranges, Family family) {
  std::vector<Cidr> out;
  std::ranges::copy_if(ranges, std::back_inserter(out),
                       [family](const Cidr& range) { return range.family() == family; });
  return Aggregate(std::move(out));
}

std::vector<OwnerMatch> ProxyOwners(const CaptureConfig& config) {
  std::vector<OwnerMatch> owners;
  for (const std::uint32_t uid : config.proxy_uids) owners.push_back({.uid = Is(uid)});
  for (const std::uint32_t gid : config.proxy_gids) owners.push_back({.gid = Is(gid)});
  return owners;
}

std::vector<Matches> ExcludedOwners(const CaptureConfig& config) {
  std::vector<Matches> owners;
  for (const std::uint32_t uid : config.exclude_uids)
    owners.push_back({OwnerMatch{.uid = Is(uid)}});
  for (const std::uint32_t gid : config.exclude_gids)
    owners.push_back({OwnerMatch{.gid = Is(gid)}});
  return owners;
}

std::vector<Matches> OwnersOutsideGroups(const CaptureConfig& config) {
  std::vector<Matches> owners;
  for (const std::uint32_t gid : config.owner_groups_exclude) {
    owners.push_back({OwnerMatch{.gid = Is(gid)}});
  }
  if (config.owner_groups) {
    Matches none_of;  // no group to capture: no condition, so this matches everybody
    for (const std::uint32_t gid : *config.owner_groups) {
      none_of.push_back(OwnerMatch{.gid = Not(gid)});
    }
    owners.push_back(std::move(none_of));
  }
  return owners;
}

Rule ToPorts(Protocol protocol, const PortRange& ports, Target target) {
  return {.protocol = protocol,
          .matches = {PortMatch{.destination = Is(ports)}},
          .target = std::move(target)};
}

}  // namespace sluice::capture
