// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/explain/deciders.h"

#include <linux/netfilter/nf_tables.h>

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

namespace sluice::capture::explain {
namespace {

// Deeper than the kernel follows jumps (NFT_JUMP_STACK_SIZE).
constexpr int kMostJumps = 16;
// Of a kind in a way: values that Sluice's rules name, beside those that nobody names.
constexpr std::size_t kMostDefaults = 6;
// A user that no rule names.
constexpr std::uint32_t kSomebody = 54321;

bool Captured(Landing landing) {
  return landing == Landing::kOutbound || landing == Landing::kInbound || landing == Landing::kDns;
}

bool Drops(Landing landing) { return landing == Landing::kDropped || landing == Landing::kRefused; }

template <typename T>
void AddOnce(std::vector<T>& to, const T& value, std::size_t most) {
  if (to.size() < most && std::ranges::find(to, value) == to.end()) to.push_back(value);
}

// What a register holds, as far as samples need it.
enum class Field : std::uint8_t {
  kOther,
  kSource,
  kDestination,
  kPort,
  kSourcePort,
  kProtocol,
  kIn,
  kOut,
  kUid,
  kGid
};

// What connections must be like to come to a rule. Empty: not said.
struct Way {
  HookPoint hook = HookPoint::kOutput;
  std::vector<IpAddress> from = {};
  std::vector<IpAddress> to = {};
  std::vector<std::uint16_t> ports = {};
  std::optional<std::uint16_t> source_port = {};
  std::optional<Protocol> protocol = {};
  std::string in = {};
  std::string out = {};
  std::optional<std::uint32_t> uid = {};
  std::optional<std::uint32_t> gid = {};
};

std::uint32_t HostNumber(const ByteString& value) {
  std::uint32_t out = 0;
  std::memcpy(&out, value.data(), std::min(value.size(), sizeof(out)));
  return out;
}

std::uint16_t BigNumber(const ByteString& value) {
  return value.size() < 2 ? std::uint16_t{0}
                          : static_cast<std::uint16_t>(value[0] << 8U | value[1]);
}

// Follows the chains of others to the rules that do something, and notes how one gets there.
class Explorer {
 public:
  explicit Explorer(Family family) : family_(family) {}

  std::vector<Way> Run(const Model& others) {
    for (const ModelTable& table : others.tables) {
      if (table.family != family_) continue;
      for (const ModelChain& chain : table.chains) {
        if (!chain.base || chain.base->hook == HookPoint::kForward) continue;
        const Way way{.hook = chain.base->hook};
        Follow(table, static_cast<std::size_t>(&chain - table.chains.data()), way, 0);
        if (chain.base->policy_drops) Note(way);
      }
    }
    return std::move(ways_);
  }

 private:
  struct Registers {
    std::array<Field, kRegisterBytes> field{};
  };

  void Note(const Way& way) {
    if (ways_.size() < kMostWays) ways_.push_back(way);
  }

  void Follow(const ModelTable& table, std::size_t chain, const Way& way, int depth) {
    if (depth > kMostJumps || chain >= table.chains.size()) return;
    for (const ModelRule& rule : table.chains[chain].rules) {
      if (++visits_ > kMostVisits) return;
      Carry(table, rule, 0, way, Registers(), depth);
    }
  }

  void Do(const ModelTable& table, const Act& act, const Way& way, int depth) {
    const Action& action = act.action;
    if (std::holds_alternative<Jump>(action) || std::holds_alternative<Goto>(action)) {
      return Follow(table, act.leads_to, way, depth + 1);
    }
    // What one rule accepts, a later one or the policy may drop once it is redirected.
    const bool idle =
        std::holds_alternative<GoOn>(action) || std::holds_alternative<Return>(action);
    if (!idle) Note(way);
  }

  // The program from `at` on.
  void Carry(const ModelTable& table, const ModelRule& rule, std::size_t at, Way way,
             Registers registers, int depth) {
    for (; at < rule.program.size(); ++at) {
      const Op& op = rule.program[at];
      if (const auto* act = std::get_if<Act>(&op)) {
        Do(table, *act, way, depth);
      } else if (std::holds_alternative<StoreMark>(op) || std::holds_alternative<NatTo>(op) ||
                 std::holds_alternative<TproxyTo>(op)) {
        Note(way);
      } else if (const auto* lookup = std::get_if<Lookup>(&op)) {
        if (lookup->set >= table.sets.size()) continue;
        const SetModel& set = table.sets[lookup->set];
        if (lookup->verdicts) return Choose(table, set, *lookup, way, registers, depth);
        if (lookup->negated) continue;
        if (lookup->to) Set(registers, *lookup->to, Field::kOther);
        if (set.fields.size() < 2) {
          // Any of them will do.
          for (std::size_t i = 0; i < std::min(set.items.size(), kMostValues); ++i) {
            Take(FieldAt(registers, lookup->from), set.items[i].first, way, i > 0);
          }
          continue;
        }
        for (std::size_t i = 0; i < std::min(set.items.size(), kMostValues); ++i) {
          Way one = way;
          TakeKey(set, set.items[i], *lookup, registers, one);
          if (++visits_ > kMostVisits) return;
          Carry(table, rule, at + 1, std::move(one), registers, depth);
        }
        return;
      } else {
        Constrain(op, way, registers);
      }
    }
  }

  // A verdict map.
  void Choose(const ModelTable& table, const SetModel& set, const Lookup& lookup, const Way& way,
              const Registers& registers, int depth) {
    for (const SetItem& item : set.items) {
      if (++visits_ > kMostVisits) return;
      if (!item.verdict) continue;
      Way one = way;
      TakeKey(set, item, lookup, registers, one);
      Do(table, *item.verdict, one, depth);
    }
    if (set.otherwise && set.otherwise->verdict) {
      Do(table, *set.otherwise->verdict, way, depth);
    }
  }

  void TakeKey(const SetModel& set, const SetItem& item, const Lookup& lookup,
               const Registers& registers, Way& way) const {
    if (set.fields.size() < 2) return Take(FieldAt(registers, lookup.from), item.first, way, false);
    std::size_t at = 0;
    for (const std::uint8_t size : set.fields) {
      if (at + size > item.first.size()) return;
      const auto first = item.first.begin() + static_cast<std::ptrdiff_t>(at);
      Take(FieldAt(registers, {static_cast<std::uint8_t>(lookup.from.at + at), size}),
           ByteString(first, first + size), way, false);
      at += (size + 3U) / 4U * 4U;
    }
  }

  void Constrain(const Op& op, Way& way, Registers& registers) const {
    if (const auto* load = std::get_if<Load>(&op)) {
      Set(registers, load->to, FieldOf(*load));
    } else if (const auto* mask = std::get_if<MaskBits>(&op)) {
      Set(registers, mask->to, FieldAt(registers, mask->from));
    } else if (const auto* swap = std::get_if<SwapBytes>(&op)) {
      Set(registers, swap->to, Field::kOther);
    } else if (const auto* compare = std::get_if<Compare>(&op)) {
      const Field field = FieldAt(registers, compare->from);
      ByteString value = compare->value;
      if (compare->operation == NFT_CMP_EQ || compare->operation == NFT_CMP_GTE ||
          compare->operation == NFT_CMP_LTE) {
        // Both ends of a range, as older versions of nft write it: the lower one is in it.
        Take(field, value, way, compare->operation == NFT_CMP_LTE);
      }
    } else if (const auto* within = std::get_if<Within>(&op)) {
      if (!within->negated) Take(FieldAt(registers, within->from), within->first, way, false);
    } else if (const auto* check = std::get_if<Check>(&op)) {
      TakeTest(check->test, way);
    }
  }

  // What iptables-nft leaves to a match of x_tables.
  static void TakeTest(const Test& test, Way& way) {
    if (const auto* port = std::get_if<PortTest>(&test)) {
      if (port->negated || port->of == PortTest::Of::kSource) return;
      way.ports.clear();
      for (const PortRange& range : port->ranges) AddOnce(way.ports, range.first, kMostValues);
    } else if (const auto* owner = std::get_if<OwnerTest>(&test)) {
      if (!owner->negated) (owner->of_group ? way.gid : way.uid) = owner->first;
    } else if (const auto* protocol = std::get_if<ProtocolTest>(&test)) {
      if (!protocol->negated) TakeProtocol(protocol->protocol, way);
    } else if (const auto* address = std::get_if<AddressTest>(&test)) {
      if (address->negated) return;
      auto& to = address->of_source ? way.from : way.to;
      to.clear();
      for (const Cidr& range : address->ranges) AddOnce(to, range.address(), kMostValues);
    } else if (const auto* interface = std::get_if<InterfaceTest>(&test)) {
      if (interface->negated) return;
      std::string name = interface->pattern;
      if (name.ends_with('+')) name.back() = '0';
      (interface->in ? way.in : way.out) = std::move(name);
    }
  }

  static void TakeProtocol(std::uint8_t number, Way& way) {
    if (number == static_cast<std::uint8_t>(Protocol::kTcp)) way.protocol = Protocol::kTcp;
    if (number == static_cast<std::uint8_t>(Protocol::kUdp)) way.protocol = Protocol::kUdp;
  }

  // `more`: beside what is there.
  void Take(Field field, ByteString value, Way& way, bool more) const {
    if (value.empty()) return;
    switch (field) {
      case Field::kSource:
      case Field::kDestination: {
        std::vector<IpAddress>& addresses = field == Field::kSource ? way.from : way.to;
        if (!more) addresses.clear();
        value.resize(family_ == Family::kIpv4 ? 4 : 16);
        AddOnce(addresses, IpAddress::FromBytes(value), kMostValues);
        return;
      }
      case Field::kPort:
        if (!more) way.ports.clear();
        // The header as a whole begins with the source's.
        AddOnce(way.ports, BigNumber(value), kMostValues);
        return;
      case Field::kSourcePort:
        if (!more) way.source_port = BigNumber(value);
        return;
      case Field::kProtocol:
        if (!more) TakeProtocol(value[0], way);
        return;
      case Field::kIn:
      case Field::kOut: {
        if (more) return;
        // "eth*" compares the beginning only.
        const auto end = std::ranges::find(value, 0);
        std::string name(value.begin(), end);
        if (end == value.end() && value.size() < 16) name += '0';
        (field == Field::kIn ? way.in : way.out) = std::move(name);
        return;
      }
      case Field::kUid:
      case Field::kGid:
        if (!more) (field == Field::kUid ? way.uid : way.gid) = HostNumber(value);
        return;
      case Field::kOther:
        return;
    }
  }

  Field FieldOf(const Load& load) const {
    const bool v4 = family_ == Family::kIpv4;
    switch (load.from) {
      case Load::From::kMeta:
        if (load.key == NFT_META_IIFNAME) return Field::kIn;
        if (load.key == NFT_META_OIFNAME) return Field::kOut;
        if (load.key == NFT_META_SKUID) return Field::kUid;
        if (load.key == NFT_META_SKGID) return Field::kGid;
        if (load.key == NFT_META_L4PROTO) return Field::kProtocol;
        return Field::kOther;
      case Load::From::kNetwork:
        if (load.key == (v4 ? 12U : 8U)) return Field::kSource;
        if (load.key == (v4 ? 16U : 24U)) return Field::kDestination;
        if (load.key == (v4 ? 9U : 6U) && load.to.size == 1) return Field::kProtocol;
        return Field::kOther;
      case Load::From::kTransport:
        if (load.key == 0 && load.to.size == 2) return Field::kSourcePort;
        if (load.key == 2 && load.to.size == 2) return Field::kPort;
        return Field::kOther;
      default:
        return Field::kOther;
    }
  }

  static Field FieldAt(const Registers& registers, const Slot& slot) {
    return slot.at < registers.field.size() ? registers.field[slot.at] : Field::kOther;
  }
  static void Set(Registers& registers, const Slot& slot, Field field) {
    for (std::size_t i = slot.at; i < std::min<std::size_t>(slot.at + slot.size, kRegisterBytes);
         ++i) {
      registers.field[i] = Field::kOther;
    }
    if (slot.at < registers.field.size()) registers.field[slot.at] = field;
  }

  const Family family_;
  std::vector<Way> ways_;
  std::size_t visits_ = 0;
};

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
    for (const Way& way : Explorer(family_).Run(others_)) Try(way);
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
