#include "cmd/sluice-init/network_steps.h"

#include <algorithm>

#include "base/error.h"

namespace sluice::init {
namespace {

using netns::InterfaceAddress;

InterfaceAddress PassthroughAddress() {
  return InterfaceAddress::Host(iptables::PassthroughSource(Family::kIpv6));
}

// What `list` returns; nothing where the kernel has no such family, where nothing of ours can be.
template <typename List>
auto OrNothing(List list) -> decltype(list()) {
  try {
    return list();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kKernelFeature) throw;
    return {};
  }
}

template <typename T>
bool Contains(const std::vector<T>& values, const T& value) {
  return std::ranges::find(values, value) != values.end();
}

}  // namespace

std::vector<std::string> PassthroughAddressStep::Have() {
  const auto addresses = OrNothing([this] { return socket_.Addresses(Family::kIpv6); });
  const bool there = std::ranges::any_of(addresses, [](const netns::AddressEntry& entry) {
    return entry.link == "lo" && entry.address == PassthroughAddress();
  });
  return there ? std::vector{PassthroughAddress().ToString()} : std::vector<std::string>();
}

std::vector<std::string> PassthroughAddressStep::Want() {
  return wanted_ ? std::vector{PassthroughAddress().ToString()} : std::vector<std::string>();
}

void PassthroughAddressStep::Set(bool there) {
  if (!there) {
    socket_.RemoveAddress("lo", PassthroughAddress());
    return;
  }
  try {
    socket_.AddAddress("lo", PassthroughAddress());
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kKernelFeature) throw;
    // Failing closed: whether to go on without IPv6 is the user's decision (trap 13).
    ErrorText text = error.text();
    text.help = "set net.ipv6.conf.lo.disable_ipv6=0, or pass --ipv6 off to leave IPv6 uncaptured";
    throw Error(ErrorKind::kKernelFeature, std::move(text));
  }
}

std::string PolicyRoutingStep::Name() const {
  return "policy routing (" + std::string(sluice::Name(family_)) + ")";
}

std::string PolicyRoutingStep::Summary() const {
  return wanted_ ? "1 rule, 1 route" : "nothing of ours";
}

netns::Route PolicyRoutingStep::LocalDefault(std::uint32_t table) const {
  const IpAddress any = family_ == Family::kIpv4 ? IpAddress() : IpAddress::Parse("::");
  return {.destination = Cidr(any, 0),
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
  for (const auto& rule : OrNothing([this] { return socket_.Rules(family_); })) {
    if (rule.priority != kPolicyRulePriority || rule.mask == 0 || rule.has_more) continue;
    state.rules.push_back(rule);
    if (!Contains(tables, rule.table)) tables.push_back(rule.table);
  }
  for (const std::uint32_t table : tables) {
    const netns::Route ours = LocalDefault(table);
    for (const netns::Route& route : socket_.Routes(family_, table)) {
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
  for (const netns::PolicyRule& rule : to.rules) {
    if (!Contains(from.rules, rule)) socket_.AddRule(rule);
  }
  for (const netns::Route& route : to.routes) {
    if (!Contains(from.routes, route)) AddRoute(route);
  }
  for (const netns::Route& route : from.routes) {
    if (!Contains(to.routes, route)) socket_.RemoveRoute(route);
  }
  for (const netns::PolicyRule& rule : from.rules) {
    if (!Contains(to.rules, rule)) socket_.RemoveRule(rule);
  }
}

// A table has one route for a destination: there may be one, and it may be somebody else's.
void PolicyRoutingStep::AddRoute(const netns::Route& route) {
  if (socket_.AddRoute(route) == netns::Change::kDone) return;
  const auto routes = socket_.Routes(family_, route.table);
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
  } catch (const Error&) {
    Change(Read(), before_);
    throw;
  }
}

void PolicyRoutingStep::Undo() { Change(Read(), before_); }

}  // namespace sluice::init
