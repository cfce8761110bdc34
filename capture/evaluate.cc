// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/evaluate.h"

#include <algorithm>
#include <ostream>
#include <stdexcept>

#include "base/interface_pattern.h"
#include "base/pod_contract.h"
#include "capture/rule_text.h"

namespace sluice::capture {
namespace {

template <typename T, typename Test>
bool Holds(const std::optional<Condition<T>>& condition, Test test) {
  return !condition || test(condition->value) != condition->negated;
}

bool MarkMatches(const Mark& wanted, const Mark& mark) {
  return (mark.value & wanted.mask) == wanted.value;
}

std::uint32_t Merged(std::uint32_t old, std::uint32_t bits, std::uint32_t mask) {
  return (old & ~mask) | (bits & mask);
}

struct MatchTest {
  const Packet& packet;

  bool operator()(const PortMatch& match) const {
    return Holds(match.source,
                 [&](const PortRange& p) { return p.Contains(packet.source_port); }) &&
           Holds(match.destination,
                 [&](const PortRange& p) { return p.Contains(packet.destination_port); });
  }
  bool operator()(const OwnerMatch& match) const {
    return Holds(match.uid, [&](std::uint32_t uid) { return packet.uid == uid; }) &&
           Holds(match.gid, [&](std::uint32_t gid) { return packet.gid == gid; });
  }
  bool operator()(const ConntrackStateMatch& match) const {
    switch (packet.state) {
      case ConntrackState::kInvalid:
        return match.invalid;
      case ConntrackState::kEstablished:
        return match.established;
      case ConntrackState::kRelated:
        return match.related;
      case ConntrackState::kNew:
        return false;
    }
    return false;
  }
  bool operator()(const MarkMatch& match) const {
    return MarkMatches(match.mark.value, packet.mark) != match.mark.negated;
  }
  bool operator()(const ConnmarkMatch& match) const {
    return MarkMatches(match.mark.value, packet.connmark) != match.mark.negated;
  }
  bool operator()(const SocketMatch&) const { return packet.has_taker; }
};

bool Contains(const RangeList& list, const Packet& packet) {
  const IpAddress& address = list.of == RangeOf::kSource ? packet.source : packet.destination;
  return std::ranges::any_of(list.ranges,
                             [&address](const Cidr& range) { return range.Contains(address); });
}

}  // namespace

bool RuleMatches(const Rule& rule, const Packet& packet) {
  const auto contains = [](const IpAddress& address) {
    return [&address](const Cidr& range) { return range.Contains(address); };
  };
  const auto named = [](const std::string& name) {
    return [&name](const std::string& pattern) { return MatchesInterface(pattern, name); };
  };
  return Holds(rule.source, contains(packet.source)) &&
         Holds(rule.destination, contains(packet.destination)) &&
         (!rule.list || Contains(*rule.list, packet)) &&
         Holds(rule.in_interface, named(packet.in_interface)) &&
         Holds(rule.out_interface, named(packet.out_interface)) &&
         (!rule.protocol || *rule.protocol == packet.protocol) &&
         std::ranges::all_of(rule.matches, [&packet](const Match& match) {
           return std::visit(MatchTest{packet}, match);
         });
}

namespace {

// Walks one table.
class Walker {
 public:
  Walker(const TableRules& rules, Evaluation& evaluation)
      : rules_(rules), evaluation_(evaluation) {}

  // True when the packet's path ends in this table.
  bool Walk(Hook hook) {
    std::size_t next = 0;  // counts in the built-in chain
    for (const EntryJump& jump : rules_.jumps) {
      if (jump.hook != hook) continue;
      const std::size_t index = next++;
      if (!Test(std::string(Name(hook)), index, jump.rule)) continue;
      switch (WalkFrom(std::get<Jump>(jump.rule.target).chain)) {
        case Next::kEnd:
          return true;
        case Next::kAccept:
          return false;
        case Next::kGoOn:
          break;
      }
    }
    return false;
  }

  // The result of a target; used with std::visit.
  enum class Next { kGoOn, kAccept, kEnd };
  Next operator()(const Accept&) { return Next::kAccept; }
  Next operator()(const Drop&) { return End(Dropped{}); }
  Next operator()(const Redirect& redirect) { return End(RedirectedTo{redirect.port}); }
  Next operator()(const Tproxy& tproxy) {
    Packet& packet = evaluation_.packet;
    packet.mark.value = Merged(packet.mark.value, tproxy.mark.value, tproxy.mark.mask);
    return End(TproxiedTo{tproxy.port});
  }
  Next operator()(const SetMark& set) {
    Packet& packet = evaluation_.packet;
    packet.mark.value = Merged(packet.mark.value, set.mark.value, set.mark.mask);
    return Next::kGoOn;
  }
  Next operator()(const SaveConnmark& save) {
    Packet& packet = evaluation_.packet;
    packet.connmark.value = Merged(packet.connmark.value, packet.mark.value, save.mask);
    return Next::kGoOn;
  }
  Next operator()(const RestoreConnmark& restore) {
    Packet& packet = evaluation_.packet;
    packet.mark.value = Merged(packet.mark.value, packet.connmark.value, restore.mask);
    return Next::kGoOn;
  }
  Next operator()(const CtZone& zone) {
    if (evaluation_.zone == 0) evaluation_.zone = zone.zone;
    return Next::kGoOn;
  }
  // WalkFrom handles jumps and returns.
  Next operator()(const Return&) { return Next::kGoOn; }
  Next operator()(const Jump&) { return Next::kGoOn; }
  Next operator()(const Goto&) { return Next::kGoOn; }

 private:
  struct Place {
    const Chain* chain;
    std::size_t next;
  };

  const Chain& Find(const std::string& name) const {
    const auto found = std::ranges::find(rules_.chains, name, &Chain::name);
    if (found == rules_.chains.end()) throw std::invalid_argument("there is no chain " + name);
    return *found;
  }

  bool Test(const std::string& chain, std::size_t index, const Rule& rule) {
    ++evaluation_.tested;
    if (!RuleMatches(rule, evaluation_.packet)) return false;
    evaluation_.path.push_back({rules_.table, chain, index, rule});
    return true;
  }

  Next End(Verdict verdict) {
    evaluation_.verdict = verdict;
    return Next::kEnd;
  }

  Next WalkFrom(const std::string& name) {
    std::vector<Place> stack = {{&Find(name), 0}};
    while (!stack.empty()) {
      Place& place = stack.back();
      if (place.next == place.chain->rules.size()) {
        stack.pop_back();
        continue;
      }
      const std::size_t index = place.next++;
      const Rule& rule = place.chain->rules[index];
      if (!Test(place.chain->name, index, rule)) continue;
      if (const auto* jump = std::get_if<Jump>(&rule.target)) {
        stack.push_back({&Find(jump->chain), 0});
      } else if (const auto* go = std::get_if<Goto>(&rule.target)) {
        place = {&Find(go->chain), 0};
      } else if (std::holds_alternative<Return>(rule.target)) {
        stack.pop_back();
      } else if (const Next next = std::visit(*this, rule.target); next != Next::kGoOn) {
        return next;
      }
    }
    return Next::kGoOn;
  }

  const TableRules& rules_;
  Evaluation& evaluation_;
};

}  // namespace

std::string ToText(const Verdict& verdict) {
  if (const auto* redirected = std::get_if<RedirectedTo>(&verdict)) {
    if (redirected->port == pod::kRefusedPort) return "refused";
    return "redirected to port " + std::to_string(redirected->port);
  }
  if (const auto* tproxied = std::get_if<TproxiedTo>(&verdict)) {
    return "TPROXY to port " + std::to_string(tproxied->port);
  }
  return std::holds_alternative<Dropped>(verdict) ? "dropped" : "direct";
}

std::ostream& operator<<(std::ostream& out, const Verdict& verdict) {
  return out << ToText(verdict);
}

std::string Matched::ToString() const {
  return std::string(Name(table)) + " " + chain + " rule " + std::to_string(index + 1) + ": " +
         ToText(rule);
}

Evaluation Evaluate(const FamilyRules& rules, Hook hook, Packet packet) {
  Evaluation evaluation{
      .verdict = Passes{}, .path = {}, .packet = std::move(packet), .zone = 0, .tested = 0};
  for (const TableRules& table : rules.tables) {
    if (table.table == Table::kNat && evaluation.packet.state != ConntrackState::kNew) continue;
    if (Walker(table, evaluation).Walk(hook)) break;
  }
  return evaluation;
}

}  // namespace sluice::capture
