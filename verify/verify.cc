// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "verify/verify.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/interface_pattern.h"
#include "capture/capture_rules.h"
#include "capture/foreign.h"
#include "netns/network_steps.h"
#include "verify/probe_exchange.h"
#include "verify/probe_link.h"
#include "verify/probe_pick.h"
#include "verify/probe_plan.h"
#include "verify/probe_sockets.h"
#include "verify/probe_verdict.h"

namespace sluice::verify {
namespace {

// How many failures the error message repeats; the list of checks has all of them.
constexpr std::ptrdiff_t kFailuresInMessage = 3;

Cidr Host(const IpAddress& address) { return {address, AddressBits(address.family())}; }

// Special addresses here, which cannot stand for the outside. The pod's own go to `local`.
std::vector<Cidr> AddressesInUse(netns::RouteSocket& socket, Family family,
                                 std::vector<IpAddress>& local) {
  std::vector<Cidr> out;
  for (const netns::AddressEntry& entry : socket.Addresses(family)) {
    local.push_back(entry.address.ip);
    out.push_back(Host(entry.address.ip));
  }
  // This includes broadcast addresses.
  for (const netns::Route& route : socket.Routes(family, netns::kLocalTable)) {
    if (route.destination == Host(route.destination.address())) out.push_back(route.destination);
  }
  for (const netns::Route& route : socket.Routes(family)) {
    // Ours would conflict with it.
    if (route.destination == Host(route.destination.address())) out.push_back(route.destination);
    for (const netns::NextHop& hop : route.next_hops) {
      if (hop.gateway && hop.gateway->family() == family) out.push_back(Host(*hop.gateway));
    }
  }
  return out;
}

// The interface of the default route.
std::string DefaultInterface(netns::RouteSocket& socket, Family family) {
  for (const netns::Route& route : socket.Routes(family)) {
    if (route.destination.prefix_length() == 0 && !route.next_hops.empty()) {
      return route.next_hops.front().device;
    }
  }
  return {};
}

// The pod's address for talking to others, on the interface of the default route if there is
// one.
std::optional<netns::AddressEntry> OwnAddress(netns::RouteSocket& socket, Family family) {
  const std::string preferred = DefaultInterface(socket, family);
  std::optional<netns::AddressEntry> out;
  for (const netns::AddressEntry& entry : socket.Addresses(family)) {
    const IpAddress& ip = entry.address.ip;
    if (entry.link == "lo" || IsProbeInterface(entry.link) || ip.IsLoopback() || ip.IsLinkLocal()) {
      continue;
    }
    if (!out || (out->link != preferred && entry.link == preferred)) out = entry;
  }
  return out;
}

// Whether the rules about interfaces allow capturing on `interface`.
bool IsCaptured(const capture::CaptureConfig& config, const std::string& interface) {
  const auto named = [&](const std::vector<std::string>& patterns) {
    return std::ranges::any_of(
        patterns, [&](const std::string& pattern) { return MatchesInterface(pattern, interface); });
  };
  return !named(config.exclude_interfaces) &&
         (config.include_interfaces.empty() || named(config.include_interfaces));
}

// The checks of one family.
class FamilyChecks {
 public:
  // Over an existing link.
  FamilyChecks(const capture::InitConfig& config, netns::RouteSocket& socket,
               capture::Backend& backend, ProbeLink& link, bool interface_captured, Family family);
  // Only what can be tried from inside without privileges, over an interface of the pod.
  FamilyChecks(const capture::InitConfig& config, netns::RouteSocket& socket,
               capture::Backend& backend, const netns::AddressEntry& address);
  std::vector<Check> Run();
  // What the link cannot show: the effect of rules about that interface. Without a link.
  std::vector<Check> RunOverInterface();

 private:
  // Probes that pass our own interface in one direction, and those of them without an answer
  // although all Sluice rules are in place.
  struct Passing {
    std::size_t sent = 0;
    std::vector<std::string> unanswered = {};
  };
  Check RunOne(Probe probe, const std::vector<Listener>& listeners);
  std::string FindObstacle(const Probe& probe);
  Check CheckPolicyRouting(Family family);
  // Null for a probe that does not pass our own interface.
  Passing* PassingOf(const Probe& probe);
  void ForgiveFilter(const Passing& passing, std::vector<Check>& checks) const;

  const capture::InitConfig& config_;
  netns::RouteSocket& socket_;
  capture::Backend& backend_;
  ProbeLink* link_;  // null without one
  ProbeSite site_;
  Passing incoming_;
  Passing leaving_;
};

FamilyChecks::FamilyChecks(const capture::InitConfig& config, netns::RouteSocket& socket,
                           capture::Backend& backend, ProbeLink& link, bool interface_captured,
                           Family family)
    : config_(config), socket_(socket), backend_(backend), link_(&link) {
  site_.interface = link.names().pod;
  site_.interface_captured = interface_captured;
  site_.self = CurrentOwner();
  site_.probe_port = config.probe_port;
  site_.in_use = AddressesInUse(socket, family, site_.local);
  const auto pod = PickAddress({BenchmarkRange(family)}, site_.in_use);
  if (!pod) {
    throw Error(ErrorKind::kFailed, {.doing = "find an address for the probe link",
                                     .target = BenchmarkRange(family).ToString(),
                                     .why = "all of them are in use",
                                     .help = {}});
  }
  site_.pod = *pod;
  site_.in_use.push_back(Host(*pod));
}

FamilyChecks::FamilyChecks(const capture::InitConfig& config, netns::RouteSocket& socket,
                           capture::Backend& backend, const netns::AddressEntry& address)
    : config_(config), socket_(socket), backend_(backend), link_(nullptr) {
  site_.has_link = false;
  site_.interface = address.link;
  site_.interface_captured = IsCaptured(config.capture, address.link);
  site_.self = CurrentOwner();
  site_.only_self = !MayActAsOthers();
  site_.probe_port = config.probe_port;
  site_.pod = address.address.ip;
  site_.in_use = AddressesInUse(socket, site_.pod.family(), site_.local);
}

std::string FamilyChecks::FindObstacle(const Probe& probe) {
  if (!probe.obstacle.empty()) return probe.obstacle;
  if (link_ == nullptr) {
    if (probe.client) {
      return "a client outside is played on an interface of our own, and that needs CAP_NET_ADMIN "
             "and CAP_NET_RAW";
    }
    // There may be a real host.
    if (!IsLocal(site_, probe.destination.ip) &&
        !BenchmarkRange(probe.family).Contains(probe.destination.ip)) {
      return "it could leave the pod by interface " + site_.interface +
             ", which only an interface of our own prevents (CAP_NET_ADMIN and CAP_NET_RAW)";
    }
    return {};
  }
  if (!probe.client && IsLocal(site_, probe.destination.ip)) return {};
  const IpAddress& outside = probe.client ? *probe.client : probe.destination.ip;
  if (link_->Reach(outside)) return {};
  return "the pod has a route of its own to " + outside.ToString();
}

Check FamilyChecks::RunOne(Probe probe, const std::vector<Listener>& listeners) {
  Check check{.family = probe.family, .path = probe.path, .status = CheckStatus::kNotChecked};
  check.detail = FindObstacle(probe);
  if (!check.detail.empty()) return check;
  DirectListener direct;
  if (probe.expected == Landing::kDirect || probe.expected == Landing::kRefused ||
      probe.needs_application) {
    direct = ListenDirectly(probe.destination);
    // Who listens there already is as good an application.
    const bool good = probe.needs_application && direct.failure == EADDRINUSE;
    if (!direct.listener && !good) {
      check.detail =
          "cannot listen on " + probe.destination.ToString() + ": " + std::strerror(direct.failure);
      if (direct.failure == EACCES) check.detail += "; needs CAP_NET_BIND_SERVICE";
      return check;
    }
    if (direct.listener) probe.destination = direct.listener->address;
    // That was to find out that nobody else does.
    if (probe.expected == Landing::kRefused) direct.listener.reset();
  }
  // A packet may get lost on a link that is this new, or on a busy machine; a wrong rule is wrong
  // twice. A false alarm would cost the pod. The timeout is for both tries.
  constexpr int kTries = 2;
  bool silence = false;
  for (int tried = 0; tried < kTries; ++tried) {
    const Outcome outcome =
        Try(probe, link_, listeners, direct.listener ? &*direct.listener : nullptr,
            config_.probe_timeout / kTries);
    check = JudgeOutcome(config_.capture, probe, outcome);
    silence = outcome.kind == Outcome::Kind::kSilence;
    if (check.status != CheckStatus::kFailed) break;
  }
  Passing* const passing = PassingOf(probe);
  if (passing != nullptr) ++passing->sent;
  if (check.status == CheckStatus::kFailed) {
    if (passing != nullptr && silence &&
        !FindFault(config_.capture, probe, site_, socket_, backend_)) {
      passing->unanswered.push_back(probe.path);
    }
    check.detail += "; " + Diagnose(config_.capture, probe, site_, socket_, backend_);
  }
  return check;
}

// No probe shows this: probes go to the pod's own addresses, where they would be delivered anyway,
// unlike an application's answers to a client address.
Check FamilyChecks::CheckPolicyRouting(Family family) {
  netns::NetworkState network(socket_);
  netns::PolicyRoutingStep step(network, family, capture::BuildPolicyRouting(config_.capture));
  const bool missing = step.Differs();
  return {.family = family,
          .path = "policy routing",
          .status = missing ? CheckStatus::kFailed : CheckStatus::kOk,
          .detail = step.Summary() + (missing ? " should be there, and are not" : "")};
}

FamilyChecks::Passing* FamilyChecks::PassingOf(const Probe& probe) {
  if (link_ == nullptr) return nullptr;
  if (probe.client) return &incoming_;
  return IsLocal(site_, probe.destination.ip) ? nullptr : &leaving_;
}

// The pod may have a filter that only accepts packets of its own interfaces. Then no simulated
// client gets an answer, or nothing arrives outside, even where no Sluice rule is involved.
void FamilyChecks::ForgiveFilter(const Passing& passing, std::vector<Check>& checks) const {
  if (passing.sent < 2 || passing.unanswered.size() != passing.sent) return;
  const bool incoming = &passing == &incoming_;
  const capture::RuleSet rules = capture::BuildRules(config_.capture);
  const auto others = capture::FindObstructions(rules.family(site_.pod.family()), backend_);
  const bool named = std::ranges::any_of(others, [&](const capture::Obstruction& found) {
    return incoming ? found.hook == "PREROUTING" || found.hook == "INPUT"
                    : found.hook == "OUTPUT" || found.hook == "POSTROUTING";
  });
  if (named) return;
  for (Check& check : checks) {
    if (std::ranges::find(passing.unanswered, check.path) == passing.unanswered.end()) continue;
    check.status = CheckStatus::kNotChecked;
    check.detail = std::string("nothing that passes an interface of our own ") +
                   (incoming ? "is answered" : "arrives outside") +
                   ", although the rules are in place: something else drops it, such as a filter " +
                   (incoming ? "(iptables -S INPUT)" : "(iptables -S OUTPUT)");
  }
}

std::vector<Check> FamilyChecks::RunOverInterface() {
  const Family family = site_.pod.family();
  const std::string over = " over " + site_.interface;
  std::vector<Check> out;
  if (!config_.capture.inbound_ports.empty()) {
    out.push_back({.family = family,
                   .path = "inbound" + over,
                   .status = CheckStatus::kNotChecked,
                   .detail = "only a client outside can come in by interface " + site_.interface});
  }
  std::vector<Probe> probes = PlanProbes(config_.capture, site_);
  std::erase_if(probes, [](const Probe& probe) { return probe.path != "outbound"; });
  if (probes.empty()) return out;
  const std::vector<Listener> listeners = ListenAsProxy(config_.capture, family, probes, false);
  for (Probe& probe : probes) {
    probe.path += over;
    out.push_back(RunOne(probe, listeners));
  }
  return out;
}

std::vector<Check> FamilyChecks::Run() {
  const Family family = site_.pod.family();
  try {
    if (link_ != nullptr) link_->AddAddress(site_.pod);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kKernelFeature) throw;
    return {{.family = family,
             .path = "every path",
             .status = CheckStatus::kNotChecked,
             .detail = error.what()}};
  }
  const std::vector<Probe> probes = PlanProbes(config_.capture, site_);
  const bool tproxy = config_.capture.mode == capture::InterceptionMode::kTproxy;
  const std::vector<Listener> listeners =
      ListenAsProxy(config_.capture, family, probes, tproxy && link_ != nullptr);
  std::vector<Check> out;
  for (const Probe& probe : probes) out.push_back(RunOne(probe, listeners));
  ForgiveFilter(incoming_, out);
  ForgiveFilter(leaving_, out);
  if (capture::BuildPolicyRouting(config_.capture)) out.push_back(CheckPolicyRouting(family));
  return out;
}

std::vector<Check> RunFromInside(const capture::InitConfig& config, netns::RouteSocket& socket,
                                 capture::Backend& backend, Family family) {
  const auto address = OwnAddress(socket, family);
  if (address) return FamilyChecks(config, socket, backend, *address).Run();
  return {{.family = family,
           .path = "every path",
           .status = CheckStatus::kNotChecked,
           .detail = "no interface has an address"}};
}

// Foreign rules that probes may miss: they may be about an interface, an address or a port.
std::vector<Check> CheckForeignRules(const capture::FamilyRules& wanted,
                                     capture::Backend& backend) {
  std::vector<Check> out;
  Check all{.family = wanted.family, .path = "foreign rules"};
  try {
    for (const auto& found : capture::FindObstructions(wanted, backend)) {
      out.push_back({.family = wanted.family,
                     .path = all.path + ": " + found.Place(),
                     .status = found.certain ? CheckStatus::kFailed : CheckStatus::kNotChecked,
                     .detail = found.Description()});
    }
    all.detail = "none decides before Sluice's";
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kPrivilege) throw;
    all.status = CheckStatus::kNotChecked;
    all.detail = "reading them needs CAP_NET_ADMIN and CAP_NET_RAW";
  }
  if (out.empty()) out.push_back(std::move(all));
  return out;
}

}  // namespace

std::vector<Check> RunChecks(const capture::InitConfig& config, netns::RouteSocket& socket,
                             capture::Backend& backend) {
  const auto names = ChooseInterfaceNames(config.capture);
  const capture::RuleSet rules = capture::BuildRules(config.capture);
  std::optional<ProbeLink> link;
  try {
    link.emplace(socket, names.value_or(DefaultInterfaceNames()));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kPrivilege) throw;
  }
  std::vector<Check> out;
  const bool has_link = link.has_value();
  for (const Family family : capture::kFamilies) {
    if (family == Family::kIpv6 && !config.capture.ipv6) continue;
    auto checks =
        link ? FamilyChecks(config, socket, backend, *link, names.has_value(), family).Run()
             : RunFromInside(config, socket, backend, family);
    std::ranges::move(checks, std::back_inserter(out));
  }
  // Its routes would lead there.
  link.reset();
  for (const Family family : capture::kFamilies) {
    if (family == Family::kIpv6 && !config.capture.ipv6) continue;
    const auto address = has_link ? OwnAddress(socket, family) : std::nullopt;
    if (address) {
      auto checks = FamilyChecks(config, socket, backend, *address).RunOverInterface();
      std::ranges::move(checks, std::back_inserter(out));
    }
    auto others = CheckForeignRules(rules.family(family), backend);
    std::ranges::move(others, std::back_inserter(out));
  }
  return out;
}

void ValidationStep::Apply() {
  checks_ = RunChecks(config_, socket_, backend_);
  std::string why;
  std::ptrdiff_t failed = 0;
  for (const Check& check : checks_) {
    if (check.status != CheckStatus::kFailed || ++failed > kFailuresInMessage) continue;
    why += "; " + std::string(sluice::Name(check.family)) + " " + check.path + ": " + check.detail;
  }
  if (failed == 0) return;
  if (failed > kFailuresInMessage) {
    why += "; and " + std::to_string(failed - kFailuresInMessage) + " more";
  }
  throw Error(ErrorKind::kInvalid, {.doing = "validate the rules with real connections",
                                    .target = {},
                                    .why = std::to_string(failed) + " of " +
                                           std::to_string(checks_.size()) + " checks failed" + why,
                                    .help = "see `sluice-init diff` and `sluice-init show`"});
}

void Validate(const capture::InitConfig& config, capture::Lock& lock, netns::RouteSocket& socket,
              capture::Backend& backend, std::vector<Check>& checks) {
  lock.LetIptablesGo();
  std::vector<std::unique_ptr<capture::Step>> steps;
  steps.push_back(std::make_unique<ValidationStep>(config, socket, backend, checks));
  capture::RunTransaction(steps, lock, config.lock_wait);
}

}  // namespace sluice::verify
