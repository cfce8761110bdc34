// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/explain/deciders.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "capture/explain/ways.h"

namespace sluice::capture::explain {
namespace {

// Of a kind in a way: values that Sluice's rules name, beside those that nobody names.
constexpr std::size_t kMostDefaults = 6;
// A user that no rule names.
constexpr std::uint32_t kSomebody = 54321;

bool Captured(Landing landing) {
  return landing == Landing::kOutbound || landing == Landing::kInbound || landing == Landing::kDns;
}

bool Drops(Landing landing) { return landing == Landing::kDropped || landing == Landing::kRefused; }

// Lets a connection leave by the interface that a rule names.
class SampleHost : public Host {
 public:
  explicit SampleHost(Host& real) : real_(real) {}
  void LeaveBy(std::string device) { device_ = std::move(device); }

  RouteAnswer Route(const RouteQuery& query) override {
    RouteAnswer answer = real_.Route(query);
    const bool leaves = !query.arriving && answer.kind == RouteAnswer::Kind::kForward;
    if (leaves && !device_.empty()) answer.device = device_;
    return answer;
  }
  std::optional<IpAddress> FirstAddress(const std::string& interface, Family family) override {
    return real_.FirstAddress(interface, family);
  }
  std::optional<int> InterfaceIndex(const std::string& name) override {
    return real_.InterfaceIndex(name);
  }

 private:
  Host& real_;
  std::string device_;
};

// Values that Sluice's rules tell apart.
struct Values {
  std::vector<IpAddress> addresses;
  std::vector<std::uint16_t> ports = {80, 53};
  std::vector<std::uint32_t> uids = {kSomebody};
};

Values ValuesOf(const FamilyRules& wanted) {
  Values out;
  out.addresses.push_back(
      IpAddress::Parse(wanted.family == Family::kIpv4 ? "198.18.0.2" : "2001:2::2"));
  for (const TableRules& table : wanted.tables) {
    for (const Chain& chain : table.chains) {
      for (const Rule& rule : chain.rules) {
        const auto address = [&out](const Cidr& range) {
          AddOnce(out.addresses, range.address(), kMostDefaults);
        };
        if (rule.destination && !rule.destination->negated) address(rule.destination->value);
        if (rule.list && rule.list->of == RangeOf::kDestination) {
          for (const Cidr& range : rule.list->ranges) address(range);
        }
        for (const Match& match : rule.matches) {
          const auto* port = std::get_if<PortMatch>(&match);
          if (port != nullptr && port->destination && !port->destination->negated) {
            AddOnce(out.ports, port->destination->value.first, kMostDefaults);
          }
          const auto* owner = std::get_if<OwnerMatch>(&match);
          if (owner != nullptr && owner->uid) AddOnce(out.uids, owner->uid->value, kMostDefaults);
        }
      }
    }
  }
  return out;
}

std::string Describe(const Connection& connection) {
  std::string out = std::string(Name(connection.protocol));
  if (connection.inbound()) {
    out += " from " + connection.from->ToString() + " by " + connection.in_interface;
  }
  out += " to " + connection.to.ToString();
  if (connection.uid && *connection.uid != kSomebody) {
    out += " as uid " + std::to_string(*connection.uid);
  }
  return out;
}

class Finder {
 public:
  Finder(const FamilyRules& wanted, const Model& ours, const Model& others, Host& host)
      : family_(wanted.family),
        values_(ValuesOf(wanted)),
        host_(host),
        others_(others),
        all_(Together(ours, others)),
        alone_(ours, host_),
        together_(all_, host_),
        without_(others, host_) {
    device_ = host_.Route({.to = values_.addresses.front()}).device;
    if (device_.empty()) device_ = "eth0";
  }

  std::vector<Obstruction> Run() {
    for (const Way& way : FindWays(others_, family_)) Try(way);
    std::vector<Obstruction> out;
    for (auto& [place, found] : found_) out.push_back(std::move(found));
    return out;
  }

 private:
  // Of the model of all, so that the places of both come in the order of tables.
  using Place = std::tuple<std::size_t, std::size_t, std::size_t>;

  static Model Together(const Model& ours, const Model& others) {
    Model out = others;
    out.planned = ours.planned;
    out.tables.insert(out.tables.end(), ours.tables.begin(), ours.tables.end());
    return out;
  }

  bool IsOurs(const PathEntry& entry) const {
    return entry.table >= all_.tables.data() + others_.tables.size();
  }
  Place PlaceOf(const PathEntry& entry) const {
    const auto table = static_cast<std::size_t>(entry.table - all_.tables.data());
    const auto chain = static_cast<std::size_t>(entry.chain - entry.table->chains.data());
    return {table, chain, entry.policy ? entry.chain->rules.size() : entry.rule};
  }

  void Try(const Way& way) {
    const bool arrives = way.hook == HookPoint::kPrerouting || way.hook == HookPoint::kInput;
    // What leaves is redirected to this host, and passes these hooks as well.
    TryOutbound(way);
    if (arrives) TryInbound(way);
  }

  template <typename Do>
  void ForEach(const Way& way, Do work) {
    const std::vector<IpAddress>& to = way.to.empty() ? values_.addresses : way.to;
    const std::vector<std::uint16_t>& ports = way.ports.empty() ? values_.ports : way.ports;
    for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
      if (way.protocol && *way.protocol != protocol) continue;
      for (const IpAddress& address : to) {
        for (const std::uint16_t port : ports) {
          Connection one;
          one.to = {address, port};
          one.protocol = protocol;
          if (way.source_port) {
            one.from_port = *way.source_port;
            one.from_port_known = true;
          }
          work(std::move(one));
        }
      }
    }
  }

  void TryOutbound(const Way& way) {
    if (way.hook == HookPoint::kOutput && way.in == "lo") return;
    const bool out = way.hook == HookPoint::kOutput || way.hook == HookPoint::kPostrouting;
    host_.LeaveBy(out && way.out != "lo" ? way.out : "");
    ForEach(way, [&](Connection one) {
      std::vector<std::uint32_t> uids = values_.uids;
      if (way.uid) uids = {*way.uid};
      for (const std::uint32_t uid : uids) {
        one.uid = uid;
        one.gid = way.gid.value_or(kSomebody);
        // Another source than the pod's own is one that a transparent socket would have.
        if (out && !way.from.empty()) one.from = way.from.front();
        Judge(one);
      }
    });
  }

  void TryInbound(const Way& way) {
    host_.LeaveBy("");
    ForEach(way, [&](Connection one) {
      one.in_interface = way.in.empty() ? device_ : way.in;
      one.from = !way.from.empty()
                     ? way.from.front()
                     : IpAddress::Parse(family_ == Family::kIpv4 ? "198.18.0.1" : "2001:2::1");
      if (one.in_interface != "lo") Judge(one);
    });
  }

  // Both walks; what makes the difference is noted.
  void Judge(const Connection& one) {
    const Outcome wanted = alone_.Explain(one).outcome;
    if (!Captured(wanted.landing)) return;
    const Explanation now = together_.Explain(one);
    const Outcome& outcome = now.outcome;
    if (outcome.landing == wanted.landing && outcome.port == wanted.port) return;
    if (outcome.landing == Landing::kUnknown) return Doubt(one, wanted, now);
    const std::optional<PathEntry> entry = Decider(outcome);
    if (!entry) return;
    // Whether Sluice's rules had redirected it by then.
    const bool behind = std::ranges::any_of(
        outcome.path, [&](const PathEntry& step) { return IsOurs(step) && Redirects(step); });
    if (behind && Drops(without_.Explain(one).outcome.landing)) return;
    Add(*entry, Meaning(outcome, *entry) + Example(one), behind, true);
  }

  static bool Redirects(const PathEntry& step) {
    const ModelRule* const rule = step.get();
    if (rule == nullptr || !rule->known) return false;
    return std::holds_alternative<Redirect>(rule->known->target) ||
           std::holds_alternative<Tproxy>(rule->known->target);
  }

  // The rule of others to which `outcome` is due; nothing if it cannot be told.
  std::optional<PathEntry> Decider(const Outcome& outcome) const {
    if (outcome.decided && outcome.decided->unread == nullptr && !IsOurs(*outcome.decided)) {
      return outcome.decided;
    }
    // It changed what Sluice's rules ask about.
    for (auto step = outcome.path.rbegin(); step != outcome.path.rend(); ++step) {
      if (step->unread != nullptr || step->policy || IsOurs(*step)) continue;
      const ModelRule& rule = *step->get();
      const bool marks = std::ranges::any_of(
          rule.program, [](const Op& op) { return std::holds_alternative<StoreMark>(op); });
      if (marks) return *step;
    }
    return {};
  }

  static std::string Meaning(const Outcome& outcome, const PathEntry& entry) {
    if (outcome.landing == Landing::kDropped) return "what matches is dropped";
    if (outcome.landing == Landing::kRefused) return "what matches is refused";
    if (outcome.tproxied) return "what matches goes to another transparent proxy";
    if (outcome.nat) {
      return "what matches goes to " + (outcome.local
                                            ? "port " + std::to_string(outcome.destination.port)
                                            : outcome.destination.ToString());
    }
    const ModelRule* const rule = entry.get();
    const bool not_tracked =
        rule != nullptr && std::ranges::any_of(rule->program, [](const Op& op) {
          const auto* act = std::get_if<Act>(&op);
          return act != nullptr && std::holds_alternative<NoTrack>(act->action);
        });
    if (not_tracked)
      return "what matches is not tracked, so nothing in the nat table applies to it";
    return "it changes what Sluice's rules ask about";
  }

  static std::string Example(const Connection& one) { return " (such as " + Describe(one) + ")"; }

  // It may be captured, and may not be: what is not known is named.
  void Doubt(const Connection& one, const Outcome& wanted, const Explanation& now) {
    for (const Outcome& candidate : now.candidates) {
      if (candidate.landing == wanted.landing && candidate.port == wanted.port) continue;
      for (const PathEntry& step : candidate.path) {
        if (!step.uncertain || step.unread != nullptr || IsOurs(step)) continue;
        Add(step, "whether it decides about what comes there is not known" + Example(one), false,
            false);
        return;
      }
      const std::optional<PathEntry> entry = Decider(candidate);
      if (!entry || candidate.doubts.empty()) continue;
      if (!Drops(candidate.landing) || !Drops(without_.Explain(one).outcome.landing)) {
        Add(*entry, Meaning(candidate, *entry) + Example(one) + "; " + candidate.doubts.front(),
            false, false);
      }
      return;
    }
  }

  void Add(const PathEntry& entry, std::string meaning, bool behind, bool certain) {
    const auto [at, is_new] = found_.try_emplace(PlaceOf(entry));
    Obstruction& found = at->second;
    // What is certain of one connection is said instead of a doubt about another.
    if (!is_new && (found.certain || !certain)) return;
    const ModelRule* const rule = entry.get();
    found.family = family_;
    found.backend = entry.table->backend;
    found.table = entry.table->kind + " " + entry.table->name;
    found.chain = entry.chain->name;
    found.index = entry.rule;
    found.policy = rule == nullptr;
    found.handle = rule == nullptr ? 0 : rule->handle;
    found.text = rule == nullptr ? "policy drop" : rule->text;
    found.meaning = std::move(meaning);
    found.counted = rule != nullptr && rule->counted;
    if (found.counted) found.counters = {.packets = rule->packets, .bytes = rule->bytes};
    found.behind = behind;
    found.certain = certain;
  }

  const Family family_;
  const Values values_;
  SampleHost host_;
  const Model& others_;
  const Model all_;
  const Walker alone_;
  const Walker together_;
  const Walker without_;
  std::string device_;
  std::map<Place, Obstruction> found_;
};

}  // namespace

std::vector<Obstruction> FindDeciders(const FamilyRules& wanted, const Model& ours,
                                      const Model& others, Host& host) {
  if (wanted.empty()) return {};
  return Finder(wanted, ours, others, host).Run();
}

}  // namespace sluice::capture::explain
