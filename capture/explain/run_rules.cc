// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <algorithm>
#include <array>
#include <utility>

#include "capture/explain/run.h"

namespace sluice::capture::explain {
namespace {

IpAddress Loopback(Family family) {
  constexpr std::array<std::uint8_t, 16> kV6 = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  return family == Family::kIpv4 ? IpAddress::V4(127, 0, 0, 1) : IpAddress::FromBytes(kV6);
}

// Whether evaluation continues after this action.
bool GoesOn(const Action& action) {
  return std::holds_alternative<GoOn>(action) || std::holds_alternative<XorMark>(action) ||
         std::holds_alternative<CopyMark>(action) || std::holds_alternative<CtZone>(action) ||
         std::holds_alternative<NoTrack>(action);
}

// Whether it has an effect besides counting.
bool Does(const ModelRule& rule) {
  return std::ranges::any_of(rule.program, [](const Op& op) {
    if (const auto* act = std::get_if<Act>(&op)) {
      return !std::holds_alternative<GoOn>(act->action);
    }
    if (const auto* lookup = std::get_if<Lookup>(&op)) return lookup->verdicts;
    return std::holds_alternative<StoreMark>(op) || std::holds_alternative<NatTo>(op) ||
           std::holds_alternative<TproxyTo>(op);
  });
}

}  // namespace

bool Run::Carry(State& state, const ModelRule& rule, PathEntry entry) {
  const bool does = Does(rule);
  bool shown = false;
  const auto show = [&shown, &entry](State& of) {
    if (!shown) of.path.push_back(entry);
    shown = true;
  };
  Machine machine(*entry.table, state.packet, walker_.host_, Now(state).priority == -200);
  for (std::size_t at = 0; at < rule.program.size(); ++at) {
    const Op& op = rule.program[at];
    if (const auto* act = std::get_if<Act>(&op)) {
      if (std::holds_alternative<GoOn>(act->action)) continue;
      show(state);
      if (!Do(state, act->action, act->leads_to, entry)) return false;
      if (!GoesOn(act->action)) return true;
      continue;
    }
    if (const auto* store = std::get_if<StoreMark>(&op)) {
      show(state);
      Store(state, *store, machine.Get(store->from));
      continue;
    }
    if (const auto* nat = std::get_if<NatTo>(&op)) {
      show(state);
      return Do(state, NatOf(*nat, machine), ModelRule::kNowhere, entry);
    }
    if (const auto* tproxy = std::get_if<TproxyTo>(&op)) {
      const Bits port = tproxy->port ? machine.Get(*tproxy->port) : Bits();
      std::uint16_t number = state.packet.destination_port;
      if (tproxy->port && port.value.size() >= 2) {
        number = static_cast<std::uint16_t>(port.value[0] << 8U | port.value[1]);
      }
      // After a Sluice rule the proxy listens; after other rules that is not known.
      if (!entry.chain->ours || !port.whole()) {
        entry.uncertain = true;
        work_.push_back(state);
      }
      show(state);
      state.tproxied = entry;
      state.tproxy_port = number;
      continue;
    }
    if (const auto* lookup = std::get_if<Lookup>(&op); lookup != nullptr && lookup->verdicts) {
      return Branch(state, *lookup, machine, entry, shown);
    }
    const Meets meets = machine.Run(op);
    if (meets == Meets::kNo) return true;
    if (meets == Meets::kYes) continue;
    if (!does) return true;  // counter only
    if (!shown) entry.uncertain = true;
    State other = state;
    if (!shown) other.path.push_back(entry);
    other.path.back().uncertain = true;
    work_.push_back(std::move(other));
  }
  show(state);
  return true;
}

bool Run::Branch(State& state, const Lookup& lookup, const Machine& machine, PathEntry entry,
                 bool shown) {
  const Found found = machine.Find(lookup);
  const bool unknown =
      lookup.set >= entry.table->sets.size() || entry.table->sets[lookup.set].unknown;
  if (found.possible.empty() && !unknown) return true;
  entry.uncertain = entry.uncertain || !found.surely;
  State rest = state;
  if (!shown) rest.path.push_back(entry);
  if (found.surely) {
    const auto& verdict = found.possible.front()->verdict;
    state = std::move(rest);
    if (!verdict) return true;
    return Do(state, verdict->action, verdict->leads_to, entry);
  }
  constexpr std::size_t kMost = 16;
  std::vector<const Act*> tried;
  for (const SetItem* item : found.possible) {
    if (!item->verdict) continue;
    const Act& act = *item->verdict;
    if (std::ranges::any_of(tried, [&act](const Act* other) {
          return other->leads_to == act.leads_to && other->action.index() == act.action.index();
        })) {
      continue;
    }
    tried.push_back(&act);
    if (tried.size() > kMost) break;
    State way = rest;
    if (Do(way, act.action, act.leads_to, entry)) work_.push_back(std::move(way));
  }
  // An unknown element of an unreadable set may have any effect.
  if (unknown || tried.size() > kMost) {
    State way = rest;
    way.notes.push_back("what \"" + entry.get()->text + "\" does is not known");
    End(way, Landing::kUnknown, entry);
  }
  state = std::move(rest);
  return true;
}

void Run::Store(State& state, const StoreMark& store, const Bits& bits) const {
  Traveller& packet = state.packet;
  const std::uint32_t value = bits.AsHost32();
  const std::uint32_t known = bits.value.size() == 4 ? bits.KnownAsHost32() : 0;
  if (store.of_connection) {
    packet.connmark = value;
    packet.connmark_bits = known;
    packet.connmark_known = true;
    return;
  }
  if (packet.mark != value || known != 0xffffffff) MarkChanged(state);
  packet.mark = value;
  packet.mark_known = known;
}

void Run::MarkChanged(State& state) const {
  if (Now(state).chain->base->reroutes) state.changed_here = true;
}

Action Run::NatOf(const NatTo& nat, const Machine& machine) {
  bool random = nat.random;
  const auto differs = [&machine](const std::optional<Slot>& a, const std::optional<Slot>& b) {
    return a && b && machine.Get(*a).value != machine.Get(*b).value;
  };
  random = random || differs(nat.address, nat.last_address) || differs(nat.port, nat.last_port);
  std::optional<IpAddress> address;
  if (nat.address) {
    const Bits bits = machine.Get(*nat.address);
    if (bits.whole() && (bits.value.size() == 4 || bits.value.size() == 16)) {
      address = IpAddress::FromBytes(bits.value);
    } else {
      random = true;
    }
  }
  std::optional<std::uint16_t> port;
  if (nat.port) {
    const Bits bits = machine.Get(*nat.port);
    if (bits.whole() && bits.value.size() == 2) {
      port = static_cast<std::uint16_t>(bits.value[0] << 8U | bits.value[1]);
    } else {
      random = true;
    }
  }
  if (nat.to_self) return RedirectToSelf{port, random};
  return ChangeDestination{address, port, random};
}

void Run::LeaveBase(State& state) {
  state.stack.clear();
  state.in_chain = false;
  ++state.base;
}

void Run::LetGo(State& state, const PathEntry& entry) const {
  // Destinations change up to this priority (NF_IP_PRI_NAT_DST); conntrack runs earlier (-200).
  const int priority = Now(state).place;
  const bool destination = entry.hook == HookPoint::kPrerouting || entry.hook == HookPoint::kOutput;
  if (!destination || state.redirected || priority < -200 || priority > -90) return;
  if (!entry.chain->ours && entry.chain->base == std::nullopt &&
      std::holds_alternative<Return>(entry.get()->action)) {
    return;
  }
  // The way through lo does not undo a decision of the sender's hook.
  if (state.let_go && state.let_go->table != nullptr && state.let_go->hook != entry.hook) return;
  state.let_go = entry;
}

bool Run::Do(State& state, const Action& action, std::size_t leads_to, const PathEntry& entry) {
  Traveller& packet = state.packet;
  if (std::holds_alternative<GoOn>(action)) return true;
  if (std::holds_alternative<Jump>(action) || std::holds_alternative<Goto>(action)) {
    const Frame next{&entry.table->chains[leads_to], 0};
    if (std::holds_alternative<Goto>(action)) state.stack.pop_back();
    state.stack.push_back(next);
    return true;
  }
  if (std::holds_alternative<Return>(action)) {
    LetGo(state, entry);
    state.stack.pop_back();
    return true;
  }
  if (std::holds_alternative<Accept>(action)) {
    LetGo(state, entry);
    LeaveBase(state);
    return true;
  }
  if (std::holds_alternative<Drop>(action)) return End(state, Landing::kDropped, entry);
  if (std::holds_alternative<Reject>(action)) return End(state, Landing::kRefused, entry);
  if (const auto* mark = std::get_if<XorMark>(&action)) {
    std::uint32_t& value = mark->of_connection ? packet.connmark : packet.mark;
    const std::uint32_t before = value;
    value = (value & ~mark->mask) ^ mark->value;
    if (!mark->of_connection && value != before) MarkChanged(state);
    std::uint32_t& known = mark->of_connection ? packet.connmark_bits : packet.mark_known;
    known |= mark->mask;
    return true;
  }
  if (const auto* copy = std::get_if<CopyMark>(&action)) {
    if (!packet.tracked || packet.untracked) return true;  // no connection
    std::uint32_t& to = copy->to_connection ? packet.connmark : packet.mark;
    const std::uint32_t from = copy->to_connection ? packet.mark : packet.connmark;
    const std::uint32_t before = to;
    to = (to & ~copy->to_mask) ^ (from & copy->from_mask);
    if (!copy->to_connection && to != before) MarkChanged(state);
    std::uint32_t& known = copy->to_connection ? packet.connmark_bits : packet.mark_known;
    const std::uint32_t source = copy->to_connection ? packet.mark_known : packet.connmark_bits;
    known = (known & ~copy->to_mask) | (source & copy->from_mask);
    return true;
  }
  if (std::holds_alternative<NoTrack>(action)) {
    packet.untracked = true;
    state.let_go = entry;
    return true;
  }
  if (std::holds_alternative<CtZone>(action)) return true;
  if (const auto* tproxy = std::get_if<Tproxy>(&action)) {
    packet.mark = (packet.mark & ~tproxy->mark.mask) ^ tproxy->mark.value;
    state.tproxied = entry;
    state.tproxy_port = tproxy->port;
    LeaveBase(state);
    return true;
  }
  if (std::holds_alternative<ChangeSource>(action)) {
    state.source_done = true;
    packet.changed_source = true;
    LeaveBase(state);
    return true;
  }
  if (const auto* redirect = std::get_if<RedirectToSelf>(&action)) {
    std::optional<IpAddress> self = Loopback(family());
    if (state.hook == HookPoint::kPrerouting) {
      self = walker_.host_.FirstAddress(packet.in_interface, family());
      if (!self) {
        state.notes.push_back("interface " + packet.in_interface + " has no " +
                              std::string(sluice::Name(family())) +
                              " address, so REDIRECT drops the packet");
        return End(state, Landing::kDropped, entry);
      }
    }
    if (redirect->random) {
      state.notes.push_back("the port is one of several, by \"" + entry.get()->text + "\"");
      state.unsure = true;
    }
    Rewrite(state, entry, self, redirect->port);
    return true;
  }
  if (const auto* change = std::get_if<ChangeDestination>(&action)) {
    if (change->random) {
      state.notes.push_back("the new destination is one of several, by \"" + entry.get()->text +
                            "\"");
      state.unsure = true;
    }
    Rewrite(state, entry, change->address, change->port);
    return true;
  }
  // An unknown target may or may not end the path.
  state.notes.push_back("what " + std::get<UnknownAction>(action).what + " does is not known");
  State on = state;
  on.path.back().uncertain = true;
  work_.push_back(std::move(on));
  state.path.back().uncertain = true;
  return End(state, Landing::kUnknown, state.path.back());
}

void Run::Rewrite(State& state, const PathEntry& entry, const std::optional<IpAddress>& address,
                  std::optional<std::uint16_t> port) {
  Traveller& packet = state.packet;
  if (address) packet.destination = *address;
  if (port) packet.destination_port = *port;
  // IPS_DST_NAT is set if the destination has changed.
  packet.changed_destination =
      SocketAddress{packet.destination, packet.destination_port} != connection_.to;
  state.changed_here = true;
  state.nat_done = true;
  state.redirected = entry;
  LeaveBase(state);
}

}  // namespace sluice::capture::explain
