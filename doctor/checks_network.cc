// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <algorithm>
#include <set>

#include "doctor/checks.h"

namespace sluice::doctor {
namespace {

bool IsRoutable(const netns::AddressEntry& entry) {
  const IpAddress& ip = entry.address.ip;
  return entry.link != "lo" && !ip.IsLoopback() && !ip.IsLinkLocal() && !ip.IsMulticast();
}

bool HasRoutable(const std::vector<netns::AddressEntry>& addresses, Family family) {
  return std::ranges::any_of(addresses, [family](const netns::AddressEntry& entry) {
    return entry.address.ip.family() == family && IsRoutable(entry);
  });
}

bool HasOn(const std::vector<netns::AddressEntry>& addresses, const std::string& link,
           Family family) {
  return std::ranges::any_of(addresses, [&](const netns::AddressEntry& entry) {
    return entry.link == link && entry.address.ip.family() == family;
  });
}

// "all" applies to every interface: the larger value counts (networking/ip-sysctl.rst).
int Effective(const std::map<std::string, int>& settings, const std::string& link) {
  int out = 0;
  for (const std::string& name : {std::string("all"), link}) {
    if (const auto found = settings.find(name); found != settings.end()) {
      out = std::max(out, found->second);
    }
  }
  return out;
}

}  // namespace

void CheckAddresses(const Facts& facts, const InForce& rules, Findings& out) {
  constexpr const char* kName = "addresses";
  if (!facts.addresses) return out.push_back(NotChecked(kName, facts.addresses.why_not));
  const std::vector<netns::AddressEntry>& addresses = *facts.addresses;
  const std::size_t before = out.size();
  for (const netns::AddressEntry& entry : addresses) {
    if (!entry.dad_failed) continue;
    out.push_back(
        {.name = kName,
         .state = State::kWarning,
         .found = entry.address.ToString() + " on " + entry.link +
                  " is somebody else's, too (duplicate address detection): it is not used",
         .remedy = "give the interface another address"});
  }
  for (const Family family : capture::kFamilies) {
    if (!rules.any() || rules.Has(family) || !HasRoutable(addresses, family)) continue;
    out.push_back({.name = kName,
                   .state = State::kWarning,
                   .found = "there are " + std::string(sluice::Name(family)) +
                            " addresses, and no rules for them: that traffic is not captured",
                   .remedy = "run sluice-init again, with --ipv6 auto or on"});
  }
  std::set<std::string> links;
  for (const netns::AddressEntry& entry : addresses) links.insert(entry.link);
  links.erase("lo");
  for (const Destination& destination : rules.destinations) {
    // TPROXY does not change the destination.
    if (!destination.from_outside || destination.transparent || destination.dns) continue;
    if (!HasRoutable(addresses, destination.family)) continue;
    for (const std::string& link : links) {
      if (HasOn(addresses, link, destination.family)) continue;
      out.push_back({.name = kName,
                     .state = State::kWarning,
                     .found = "interface " + link + " has no " +
                              std::string(sluice::Name(destination.family)) +
                              " address: REDIRECT drops such connections that arrive there",
                     .remedy = "give it one, or name it with --istio-exclude-interfaces"});
    }
  }
  const bool v4 = HasRoutable(addresses, Family::kIpv4);
  const bool v6 = HasRoutable(addresses, Family::kIpv6);
  if (!v4 && !v6) {
    out.push_back({.name = kName,
                   .state = State::kWarning,
                   .found = "no interface but lo has an address that others can reach",
                   .remedy = "look at the pod's network: ip addr"});
  }
  if (out.size() > before) return;
  out.push_back({.name = kName,
                 .found = v4 && v6 ? "IPv4 and IPv6"
                          : v4     ? "IPv4 only"
                                   : "IPv6 only"});
}

void CheckIpv6OnLo(const Facts& facts, const InForce& rules, Findings& out) {
  constexpr const char* kName = "ipv6-lo";
  if (!facts.ipv6_off_on_lo) return out.push_back(NotChecked(kName, facts.ipv6_off_on_lo.why_not));
  const bool wanted = rules.Has(Family::kIpv6);
  if (*facts.ipv6_off_on_lo) {
    out.push_back(
        {.name = kName,
         .state = wanted ? State::kProblem : State::kNote,
         .found = std::string("IPv6 is disabled on lo (net.ipv6.conf.lo.disable_ipv6=1)") +
                  (wanted ? ": redirected connections have no ::1 to go to, and the "
                            "proxy no ::6 to come from"
                          : ""),
         .remedy = wanted ? "sysctl -w net.ipv6.conf.lo.disable_ipv6=0 in this network "
                            "namespace, and run sluice-init again; or --ipv6 off"
                          : "none is needed while IPv6 is not captured"});
    return;
  }
  if (wanted && rules.installed && !facts.has_passthrough_address) {
    out.push_back({.name = kName,
                   .state = State::kProblem,
                   .found =
                       "::6/128 is not on lo: the proxy cannot connect to the application over "
                       "IPv6",
                   .remedy = "run sluice-init again, which adds it"});
    return;
  }
  out.push_back({.name = kName,
                 .found = wanted && rules.installed ? "IPv6 is enabled on lo, and ::6/128 is there"
                                                    : "IPv6 is enabled on lo"});
}

void CheckRpFilter(const Facts& facts, const InForce& rules, Findings& out) {
  constexpr const char* kName = "rp-filter";
  const bool tproxy_v4 = std::ranges::any_of(rules.destinations, [](const Destination& one) {
    return one.transparent && one.family == Family::kIpv4;
  });
  if (rules.unknown()) return out.push_back(NotChecked(kName, rules.unseen));
  if (!tproxy_v4) {
    return out.push_back({.name = kName, .found = "of no importance: TPROXY is not used"});
  }
  if (facts.rp_filter.empty()) return out.push_back(NotChecked(kName, facts.no_rp_filter));
  std::vector<std::string> strict;
  std::vector<std::string> marked;
  for (const auto& [link, value] : facts.rp_filter) {
    // "default" is for future interfaces.
    if (link == "all" || link == "default" || link == "lo") continue;
    if (Effective(facts.rp_filter, link) == 1) strict.push_back(link);
    if (Effective(facts.src_valid_mark, link) != 0) marked.push_back(link);
  }
  if (!marked.empty()) {
    out.push_back(
        {.name = kName,
         .state = State::kProblem,
         .found = "src_valid_mark is 1 on " + Listed(marked) +
                  ": the kernel looks the source of a packet up by the mark of TPROXY, finds it to "
                  "be local, and drops the packet",
         .remedy = "sysctl -w net.ipv4.conf.all.src_valid_mark=0, and of these interfaces"});
  }
  if (!strict.empty()) {
    out.push_back({.name = kName,
                   .state = State::kWarning,
                   .found = "rp_filter is 1 (strict) on " + Listed(strict) +
                            " with TPROXY: a connection whose way back leads by another interface "
                            "is dropped before it gets to the proxy",
                   .remedy =
                       "sysctl -w net.ipv4.conf.all.rp_filter=2 (loose), which counts for all "
                       "interfaces"});
  }
  if (marked.empty() && strict.empty()) {
    out.push_back({.name = kName, .found = "not strict on any interface"});
  }
}

void CheckPolicyRouting(const Facts& facts, const InForce& rules, Findings& out) {
  constexpr const char* kName = "policy-routing";
  if (rules.unknown()) return out.push_back(NotChecked(kName, rules.unseen));
  if (!rules.tproxy) {
    return out.push_back({.name = kName, .found = "none is needed: TPROXY is not used"});
  }
  if (!rules.installed) {
    return out.push_back({.name = kName, .found = "a run adds what TPROXY needs"});
  }
  if (!facts.policy_routing) return out.push_back(NotChecked(kName, facts.policy_routing.why_not));
  const std::size_t before = out.size();
  for (const Family family : capture::kFamilies) {
    const bool wanted = std::ranges::any_of(rules.destinations, [family](const Destination& one) {
      return one.transparent && one.family == family;
    });
    const auto found = facts.policy_routing->find(family);
    // Two parts: a rule and a route.
    const std::size_t there = found == facts.policy_routing->end() ? 0 : found->second;
    if (!wanted || there >= 2) continue;
    out.push_back({.name = kName,
                   .state = State::kProblem,
                   .found = "the policy rule or the route that TPROXY needs is missing for " +
                            std::string(sluice::Name(family)) +
                            ": marked packets do not come to the proxy",
                   .remedy = "run sluice-init again, which adds it"});
  }
  if (out.size() > before) return;
  out.push_back({.name = kName, .found = "what TPROXY needs is there"});
}

}  // namespace sluice::doctor
