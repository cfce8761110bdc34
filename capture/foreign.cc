// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/foreign.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <variant>

#include "capture/evaluate.h"

namespace sluice::capture {
namespace {

// More samples would add nothing new: they are values of lists.
constexpr std::size_t kMostSamples = 24;
// In practice netfilter allows no deeper nesting of this kind; loops are impossible.
constexpr int kMostJumps = 16;

// What a rule does to the packets that match it.
struct Effect {
  std::string meaning;  // empty: no decision
  bool certain = true;
};

// A rule without conditions of its own decides about every packet that reaches it.
bool HasConditions(const ForeignRule& entry) {
  const Rule& rule = entry.rule;
  return !entry.conditions_known || rule.source || rule.destination || rule.in_interface ||
         rule.out_interface || rule.protocol || !rule.matches.empty();
}

class Effects {
 public:
  Effects(const InstalledTable& state, bool ours_follow)
      : state_(state), ours_follow_(ours_follow) {}

  Effect Of(const ForeignRule& entry, int depth = 0) const {
    if (entry.not_tracked) {
      return {"what matches is not tracked, so nothing in the nat table applies to it"};
    }
    if (!entry.target_known) return OfUnknown(entry);
    const auto& known = entry.rule.target;
    if (std::holds_alternative<Drop>(known)) return {"what matches is dropped"};
    if (std::holds_alternative<Accept>(known) || std::holds_alternative<Return>(known)) {
      // Ends this table only; later tables still see the packet.
      if (!ours_follow_) return {};
      return {"what matches does not come to Sluice's rules in this table"};
    }
    if (const auto* redirect = std::get_if<Redirect>(&known)) {
      return {"what matches goes to port " + std::to_string(redirect->port)};
    }
    if (const auto* tproxy = std::get_if<Tproxy>(&known)) {
      return {"what matches goes to the transparent port " + std::to_string(tproxy->port)};
    }
    if (const auto* jump = std::get_if<Jump>(&known)) return OfChain(jump->chain, depth);
    if (const auto* go = std::get_if<Goto>(&known)) return OfChain(go->chain, depth);
    return {};  // marks and zones
  }

 private:
  Effect OfUnknown(const ForeignRule& entry) const {
    const std::string& target = entry.target;
    if (target.empty()) return {};  // counter only
    static constexpr std::string_view kHarmless[] = {
        "AUDIT", "CHECKSUM", "CLASSIFY", "CONNMARK", "CONNSECMARK", "CT",      "DSCP",
        "ECN",   "HL",       "LOG",      "MARK",     "NFLOG",       "RATEEST", "SECMARK",
        "SET",   "TEE",      "TCPMSS",   "TOS",      "TRACE",       "TTL",     "IDLETIMER"};
    if (std::ranges::find(kHarmless, target) != std::end(kHarmless)) return {};
    if (target == "DNAT" || target == "NETMAP") return {"what matches goes to another address"};
    return {"the target " + target + " may decide about what matches", false};
  }

  Effect OfChain(const std::string& name, int depth) const {
    const Effect unknown = {"the chain " + name + " may decide about what matches", false};
    if (depth >= kMostJumps) return unknown;
    const auto found = std::ranges::find(state_.foreign_chains, name, &ForeignChain::name);
    if (found == state_.foreign_chains.end()) return unknown;
    bool some_leave = false;
    for (const ForeignRule& entry : found->rules) {
      if (!entry.of_our_protocols) continue;
      // Returns to the rule after the jump.
      const bool returns = entry.target_known && !entry.not_tracked &&
                           std::holds_alternative<Return>(entry.rule.target);
      if (returns && !HasConditions(entry)) return {};
      some_leave = some_leave || returns;
      if (returns) continue;
      Effect effect = Of(entry, depth + 1);
      if (effect.meaning.empty()) continue;
      if (some_leave || HasConditions(entry)) effect.certain = false;
      effect.meaning =
          (effect.certain ? "by the chain " : "the chain ") + name +
          (effect.certain ? ", " + effect.meaning
                          : " may decide about what matches, by \"" + entry.text + "\"");
      return effect;
    }
    return {};
  }

  const InstalledTable& state_;
  bool ours_follow_;  // in this table, after that rule
};

IpAddress First(const Cidr& range) { return range.address(); }

// The first address of the second half of `range`.
IpAddress Middle(const Cidr& range) {
  const auto first = range.address().bytes();
  std::vector<std::uint8_t> bytes(first.begin(), first.end());
  const auto bit = static_cast<std::size_t>(range.prefix_length());
  if (bit < bytes.size() * 8) {
    bytes[bit / 8] = static_cast<std::uint8_t>(bytes[bit / 8] | (0x80U >> (bit % 8)));
  }
  return IpAddress::FromBytes(bytes);
}

// Sample packets of each kind that Sluice rules distinguish.
class Samples {
 public:
  Samples(const FamilyRules& wanted, Hook hook) : wanted_(wanted), hook_(hook) {
    const bool v4 = wanted.family == Family::kIpv4;
    base_.source = IpAddress::Parse(v4 ? "198.18.0.1" : "2001:2::1");
    base_.destination = IpAddress::Parse(v4 ? "198.18.0.2" : "2001:2::2");
    addresses_.push_back(base_.destination);
    ports_ = {80, 53};
    for (const TableRules& table : wanted.tables) {
      for (const Chain& chain : table.chains) {
        for (const Rule& rule : chain.rules) Take(rule);
      }
    }
  }

  // Whether `wanted` acts on a packet that `rule` matches, as far as the conditions of `rule` are
  // known.
  bool IsCaptured(const Rule& rule) const {
    std::vector<IpAddress> addresses = addresses_;
    if (rule.destination && !rule.destination->negated) {
      const Cidr& range = rule.destination->value;
      std::erase_if(addresses, [&](const IpAddress& address) { return !range.Contains(address); });
      addresses.push_back(First(range));
      addresses.push_back(Middle(range));
    }
    std::vector<std::uint16_t> ports = ports_;
    std::vector<std::optional<std::uint32_t>> uids = {12345};
    Packet packet = base_;
    if (rule.source && !rule.source->negated) packet.source = First(rule.source->value);
    for (const Match& match : rule.matches) {
      if (const auto* port = std::get_if<PortMatch>(&match)) {
        if (port->destination && !port->destination->negated) {
          ports = {port->destination->value.first, port->destination->value.last};
        }
        if (port->source && !port->source->negated) packet.source_port = port->source->value.first;
      } else if (const auto* owner = std::get_if<OwnerMatch>(&match)) {
        if (owner->uid && !owner->uid->negated) uids = {owner->uid->value};
        if (owner->gid && !owner->gid->negated) packet.gid = owner->gid->value;
      } else if (const auto* mark = std::get_if<MarkMatch>(&match)) {
        if (!mark->mark.negated) packet.mark.value = mark->mark.value.value;
      } else if (const auto* connmark = std::get_if<ConnmarkMatch>(&match)) {
        if (!connmark->mark.negated) packet.connmark.value = connmark->mark.value.value;
      }
    }
    if (uids.front() == 12345) uids.insert(uids.end(), uids_.begin(), uids_.end());
    for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
      packet.protocol = protocol;
      for (const IpAddress& address : addresses) {
        packet.destination = address;
        for (const std::uint16_t port : ports) {
          packet.destination_port = port;
          for (const auto& uid : uids) {
            if (IsCapturedAs(packet, rule, uid)) return true;
          }
        }
      }
    }
    return false;
  }

 private:
  static std::string NameFor(const std::optional<Condition<std::string>>& condition,
                             const char* fallback) {
    if (!condition || condition->negated) return fallback;
    std::string name = condition->value;
    if (name.ends_with('+')) name.back() = '0';
    return name;
  }

  bool IsCapturedAs(Packet packet, const Rule& rule, std::optional<std::uint32_t> uid) const {
    std::vector<const char*> interfaces = {"eth0"};
    // The pod itself is reached through lo, and so are loopback addresses.
    if (hook_ == Hook::kOutput) interfaces.push_back("lo");
    if (packet.destination.IsLoopback()) interfaces = {"lo"};
    for (const char* interface : interfaces) {
      if (hook_ == Hook::kOutput) {
        packet.out_interface = NameFor(rule.out_interface, interface);
        packet.uid = uid;
        if (!packet.gid) packet.gid = 12345;
      } else {
        packet.in_interface = NameFor(rule.in_interface, interface);
      }
      if (!RuleMatches(rule, packet)) continue;
      const auto evaluation = Evaluate(wanted_, hook_, packet);
      if (!std::holds_alternative<Passes>(evaluation.verdict)) return true;
    }
    return false;
  }

  template <typename T>
  static void Add(std::vector<T>& to, const T& value) {
    if (to.size() < kMostSamples && std::ranges::find(to, value) == to.end()) to.push_back(value);
  }

  void Take(const Rule& rule) {
    if (rule.destination && !rule.destination->negated)
      Add(addresses_, First(rule.destination->value));
    if (rule.list && rule.list->of == RangeOf::kDestination) {
      for (const Cidr& range : rule.list->ranges) Add(addresses_, First(range));
    }
    for (const Match& match : rule.matches) {
      if (const auto* port = std::get_if<PortMatch>(&match)) {
        if (port->destination && !port->destination->negated) {
          Add(ports_, port->destination->value.first);
        }
      } else if (const auto* owner = std::get_if<OwnerMatch>(&match)) {
        if (owner->uid) Add(uids_, std::optional(owner->uid->value));
      }
    }
  }

  const FamilyRules& wanted_;
  const Hook hook_;
  Packet base_;
  std::vector<IpAddress> addresses_;
  std::vector<std::uint16_t> ports_;
  std::vector<std::optional<std::uint32_t>> uids_;
};

bool JumpsFrom(const TableRules& rules, Hook hook) {
  return std::ranges::any_of(rules.jumps, [hook](const auto& jump) { return jump.hook == hook; });
}

// The installed Sluice rules; rules that Sluice cannot have written are left out.
FamilyRules AsRules(Family family, const std::vector<InstalledTable>& installed) {
  FamilyRules out{.family = family, .tables = {}};
  for (std::size_t i = 0; i < installed.size(); ++i) {
    TableRules rules{.table = kTables[i]};
    for (const InstalledJump& jump : installed[i].jumps) {
      const bool output = jump.chain == Name(Hook::kOutput);
      if (!jump.rule.rule || (!output && jump.chain != Name(Hook::kPrerouting))) continue;
      rules.jumps.push_back({output ? Hook::kOutput : Hook::kPrerouting, *jump.rule.rule});
    }
    for (const InstalledChain& chain : installed[i].chains) {
      Chain known{.name = chain.name, .rules = {}};
      for (const InstalledRule& rule : chain.rules) {
        const auto* jump = rule.rule ? std::get_if<Jump>(&rule.rule->target) : nullptr;
        const bool leads_away = jump != nullptr && !IsOwnedChain(jump->chain);
        if (rule.rule && !leads_away) known.rules.push_back(*rule.rule);
      }
      rules.chains.push_back(std::move(known));
    }
    out.tables.push_back(std::move(rules));
  }
  return out;
}

std::vector<InstalledTable> ReadTables(Family family, Backend& backend) {
  std::vector<InstalledTable> out;
  for (const Table table : kTables) out.push_back(backend.Read(family, table));
  return out;
}

void AddOthers(const FamilyRules& wanted, const Backend& backend, std::vector<Obstruction>& out) {
  const auto add = [&out](std::vector<Obstruction> found) {
    std::ranges::move(found, std::back_inserter(out));
  };
  if (backend.before() != nullptr) add(FindObstructionsBefore(wanted, *backend.before()));
  if (wanted.empty() || backend.beside() == nullptr || !backend.beside()->Any()) return;
  add(backend.beside()->DecideFirst(wanted, backend));
}

}  // namespace

std::string Obstruction::Place() const {
  std::string out = (backend == "iptables" ? "" : backend + " ") + table + " " + chain;
  if (policy) return out + " policy";
  out += " rule " + std::to_string(index + 1);
  return handle == 0 ? out : out + " (handle " + std::to_string(handle) + ")";
}

std::string Obstruction::Description() const {
  std::string out = text;
  if (counted) {
    out += " (" + std::to_string(counters.packets) + " packets, " + std::to_string(counters.bytes) +
           " bytes)";
  } else if (!policy) {
    out += " (no counter)";
  }
  return out + ": " + meaning;
}

std::string Obstruction::ToString() const {
  return std::string(sluice::Name(family)) + " " + Place() + ", not Sluice's, comes " +
         (behind ? "behind: " : "first: ") + Description();
}

std::vector<Obstruction> FindObstructions(const std::vector<InstalledTable>& installed,
                                          const FamilyRules& wanted, Ours where) {
  std::vector<Obstruction> out;
  const bool none = std::ranges::all_of(installed, [](const auto& s) { return s.foreign.empty(); });
  if (none || wanted.empty()) return out;
  for (const Hook hook : {Hook::kPrerouting, Hook::kOutput}) {
    std::optional<std::size_t> last;  // the last table with a Sluice jump here
    for (std::size_t i = 0; i < wanted.tables.size(); ++i) {
      if (JumpsFrom(wanted.tables[i], hook)) last = i;
    }
    if (!last) continue;
    const Samples samples(wanted, hook);
    for (std::size_t i = 0; i <= *last && i < installed.size(); ++i) {
      const InstalledTable& state = installed[i];
      const bool ours = JumpsFrom(wanted.tables[i], hook);
      const auto first = std::ranges::find(state.jumps, Name(hook), &InstalledJump::chain);
      for (const ForeignEntry& there : state.foreign) {
        if (there.chain != Name(hook)) continue;
        const bool before_ours = first == state.jumps.end() || there.position < first->position;
        const bool decides_here = ours && before_ours && where == Ours::kAmong;
        // Behind our jump of the last table everything has been said.
        if (i == *last && !decides_here && where == Ours::kAmong) continue;
        const ForeignRule& entry = there.rule;
        if (!entry.of_our_protocols) continue;
        const Effect effect = Effects(state, decides_here).Of(entry);
        if (effect.meaning.empty() || !samples.IsCaptured(entry.rule)) continue;
        out.push_back({.family = wanted.family,
                       .table = std::string(Name(kTables[i])),
                       .chain = there.chain,
                       .hook = there.chain,
                       .index = there.position,
                       .text = entry.text,
                       .meaning = effect.meaning,
                       .counters = entry.counters,
                       .certain = effect.certain && entry.conditions_known});
      }
    }
  }
  return out;
}

std::vector<Obstruction> FindObstructionsBefore(const FamilyRules& wanted, Backend& backend) {
  return FindObstructions(ReadTables(wanted.family, backend), wanted, Ours::kBehind);
}

std::vector<Obstruction> FindObstructions(const FamilyRules& wanted, Backend& backend) {
  auto out = FindObstructions(ReadTables(wanted.family, backend), wanted);
  AddOthers(wanted, backend, out);
  return out;
}

bool MayObstruct(const Backend& backend) {
  return backend.SawForeignRules() ||
         (backend.before() != nullptr && backend.before()->SawForeignRules()) ||
         (backend.beside() != nullptr && backend.beside()->Any());
}

RuleSet ReadRules(Backend& backend) {
  return {.v4 = AsRules(Family::kIpv4, ReadTables(Family::kIpv4, backend)),
          .v6 = AsRules(Family::kIpv6, ReadTables(Family::kIpv6, backend))};
}

std::vector<Obstruction> FindObstructions(Family family, Backend& backend) {
  const auto installed = ReadTables(family, backend);
  const FamilyRules rules = AsRules(family, installed);
  auto out = FindObstructions(installed, rules);
  AddOthers(rules, backend, out);
  return out;
}

}  // namespace sluice::capture
