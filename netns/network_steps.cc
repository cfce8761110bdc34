// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "netns/network_steps.h"

#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/pod_contract.h"

namespace sluice::netns {
namespace {

using netns::InterfaceAddress;

InterfaceAddress PassthroughAddress() {
  return InterfaceAddress::Host(pod::PassthroughSource(Family::kIpv6));
}

template <typename T>
bool Contains(const std::vector<T>& values, const T& value) {
  return std::ranges::find(values, value) != values.end();
}

}  // namespace

std::vector<std::string> PassthroughAddressStep::Have() {
  const auto ours = [](const netns::AddressEntry& entry) {
    return entry.link == "lo" && entry.address == PassthroughAddress();
  };
  const bool there = std::ranges::any_of(network_.Addresses(), ours);
  return there ? std::vector{PassthroughAddress().ToString()} : std::vector<std::string>();
}

std::vector<std::string> PassthroughAddressStep::Want() {
  return wanted_ ? std::vector{PassthroughAddress().ToString()} : std::vector<std::string>();
}

void PassthroughAddressStep::Set(bool there) {
  network_.Forget();
  if (!there) {
    network_.socket().RemoveAddress("lo", PassthroughAddress());
    return;
  }
  try {
    network_.socket().AddAddress("lo", PassthroughAddress());
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kKernelFeature) throw;
    // Fail closed: the user decides whether to go on without IPv6.
    ErrorText text = error.text();
    text.help = "pass --ipv6 off to leave IPv6 uncaptured";
    // Of a kernel that has IPv6 at all.
    if (access("/proc/thread-self/net/if_inet6", F_OK) == 0) {
      text.help = "set net.ipv6.conf.lo.disable_ipv6=0, or " + text.help;
    }
    throw Error(ErrorKind::kKernelFeature, std::move(text));
  }
}

std::string PolicyRoutingStep::Name() const {
  return "policy routing (" + std::string(sluice::Name(family_)) + ")";
}

std::string PolicyRoutingStep::Summary() const {
  return wanted_ ? "1 rule, 1 route" : std::string(kNothing);
}

netns::Route PolicyRoutingStep::LocalDefault(std::uint32_t table) const {
  return {.destination = Cidr(IpAddress::Unspecified(family_), 0),
          .type = netns::RouteType::kLocal,
          .table = table,
          .next_hops = {{.device = "lo", .gateway = {}}}};
}

PolicyRoutingStep::State PolicyRoutingStep::Wanted() const {
  if (!wanted_) return {};
  return {.rules = {{.family = family_,
                     .priority = kPolicyRulePriority,
                     .mark = wanted_->mark.value,
                     .mask = wanted_->mark.mask,
                     .table = wanted_->route_table}},
          .routes = {LocalDefault(wanted_->route_table)}};
}

PolicyRoutingStep::State PolicyRoutingStep::Read() const {
  State state;
  std::vector<std::uint32_t> tables;
  for (const netns::PolicyRule& rule : network_.Rules()) {
    if (rule.family != family_ || rule.priority != kPolicyRulePriority) continue;
    if (rule.mask == 0 || rule.has_more) continue;
    state.rules.push_back(rule);
    if (!Contains(tables, rule.table)) tables.push_back(rule.table);
  }
  for (const std::uint32_t table : tables) {
    const netns::Route ours = LocalDefault(table);
    for (const netns::Route& route : network_.socket().Routes(family_, table)) {
      if (Satisfies(route, ours)) state.routes.push_back(ours);
    }
  }
  return state;
}

std::vector<std::string> PolicyRoutingStep::Lines(const State& state) {
  std::vector<std::string> lines;
  for (const netns::PolicyRule& rule : state.rules) lines.push_back(rule.ToString());
  for (const netns::Route& route : state.routes) lines.push_back(route.ToString());
  return lines;
}

bool PolicyRoutingStep::Differs() { return Read() != Wanted(); }

void PolicyRoutingStep::Change(const State& from, const State& to) {
  network_.Forget();
  for (const netns::PolicyRule& rule : to.rules) {
    if (!Contains(from.rules, rule)) network_.socket().AddRule(rule);
  }
  for (const netns::Route& route : to.routes) {
    if (!Contains(from.routes, route)) AddRoute(route);
  }
  for (const netns::Route& route : from.routes) {
    if (!Contains(to.routes, route)) network_.socket().RemoveRoute(route);
  }
  for (const netns::PolicyRule& rule : from.rules) {
    if (!Contains(to.rules, rule)) network_.socket().RemoveRule(rule);
  }
}

// A table has one route per destination: it may exist already, and be foreign.
void PolicyRoutingStep::AddRoute(const netns::Route& route) {
  if (network_.socket().AddRoute(route) == netns::Change::kDone) return;
  const auto routes = network_.socket().Routes(family_, route.table);
  const auto ours = [&route](const netns::Route& there) { return Satisfies(there, route); };
  if (std::ranges::any_of(routes, ours)) return;
  const std::string table = std::to_string(route.table);
  throw Error(ErrorKind::kFailed,
              {.doing = "add the route for captured packets",
               .target = route.ToString(),
               .why = "routing table " + table + " has another default route",
               .help = "name a table of its own with --istio-inbound-tproxy-route-table"});
}

void PolicyRoutingStep::Apply() {
  before_ = Read();
  try {
    Change(before_, Wanted());
  } catch (...) {
    Change(Read(), before_);
    throw;
  }
}

void PolicyRoutingStep::Undo() { Change(Read(), before_); }

}  // namespace sluice::netns
