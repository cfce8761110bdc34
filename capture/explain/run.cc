// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/explain/run.h"

#include <algorithm>
#include <utility>

#include "base/pod_contract.h"
#include "capture/explain/test.h"

namespace sluice::capture::explain {
namespace {

using Kind = RouteAnswer::Kind;

// More outcomes would not tell the user anything new.
constexpr std::size_t kMostOutcomes = 64;
// The limit of rules checked for one outcome. The kernel refuses loops of gotos, and very long
// lists are still within the limit.
constexpr std::size_t kMostSteps = 1'000'000;

}  // namespace

std::optional<Landing> ListenerOf(std::string_view chain) {
  if (chain == "ISTIO_REDIRECT") return Landing::kOutbound;
  if (chain == "ISTIO_IN_REDIRECT" || chain == "ISTIO_TPROXY") return Landing::kInbound;
  if (chain == "ISTIO_OUTPUT_DNS") return Landing::kDns;
  return {};
}

std::vector<Outcome> Run::All() {
  State first;
  if (Begin(first)) work_.push_back(std::move(first));
  while (!work_.empty() && outcomes_.size() < kMostOutcomes) {
    State state = std::move(work_.back());
    work_.pop_back();
    while (Advance(state)) {
    }
  }
  if (!work_.empty()) {
    Outcome more;
    more.landing = Landing::kUnknown;
    more.notes.push_back("there are too many possibilities to follow them all");
    outcomes_.push_back(std::move(more));
  }
  return std::move(outcomes_);
}

bool Run::Begin(State& state) {
  Traveller& packet = state.packet;
  packet.destination = connection_.to.ip;
  packet.destination_port = connection_.to.port;
  packet.source_port = connection_.from_port;
  packet.source_port_known = connection_.from_port_known;
  packet.protocol = connection_.protocol;
  packet.mark = connection_.mark;
  packet.state = connection_.state;
  packet.connmark_known = connection_.state == kStateNew;
  // The nat table sees the first packet of a tracked connection.
  const bool fresh = connection_.state == kStateNew;
  state.nat_done = !fresh;
  state.source_done = !fresh;
  if (connection_.state == kStateUntracked) packet.untracked = true;
  if (!fresh) {
    state.notes.push_back(
        connection_.state == kStateEstablished || connection_.state == kStateRelated
            ? "the nat table is asked about the first packet of a connection only: one that "
              "existed before the rules keeps going where it went"
            : "the nat table does not see a packet that conntrack does not know");
  }
  if (connection_.inbound()) {
    state.hook = HookPoint::kPrerouting;
    packet.in_interface = connection_.in_interface;
    packet.source = connection_.from.value_or(IpAddress());
    return true;
  }
  state.hook = HookPoint::kOutput;
  packet.has_socket = true;
  packet.uid = connection_.uid;
  packet.gid = connection_.gid;
  const RouteAnswer route = walker_.host_.Route({.to = connection_.to.ip,
                                                 .from = connection_.from,
                                                 .mark = packet.mark,
                                                 .uid = connection_.uid});
  if (route.kind == Kind::kNone || route.kind == Kind::kMartian) {
    state.notes.push_back("there is no route to " + connection_.to.ip.ToString() +
                          ": the routing decision comes before all rules, and connect(2) fails");
    End(state, Landing::kRefused);
    return false;
  }
  if (route.kind == Kind::kUnknown) {
    state.notes.push_back("the route to " + connection_.to.ip.ToString() + " is not known");
    End(state, Landing::kUnknown);
    return false;
  }
  if (!route.note.empty()) state.notes.push_back(route.note);
  packet.out_interface = route.device;
  state.local = route.kind == Kind::kLocal;
  // To a local address the kernel uses the same address as source.
  const IpAddress chosen = route.source.value_or(state.local ? connection_.to.ip : IpAddress());
  packet.source = connection_.from.value_or(chosen);
  return true;
}

const std::vector<Walker::Base>& Run::Bases(const State& state) const {
  return walker_.at_[family() == Family::kIpv6][static_cast<std::size_t>(state.hook)];
}

const Walker::Base& Run::Now(const State& state) const {
  return Bases(state)[state.order.empty() ? state.base : state.order[state.base]];
}

void Run::ChooseOrder(State& state) {
  const auto& bases = Bases(state);
  const std::size_t tied = bases[state.base].tied;
  state.ordered = state.base + tied;
  if (tied == 1) return;
  if (state.order.empty()) {
    for (std::size_t i = 0; i < bases.size(); ++i) state.order.push_back(i);
  }
  std::string names;
  for (std::size_t i = state.base; i < state.ordered; ++i) {
    if (bases[i].chain == nullptr) continue;
    names += (names.empty() ? "" : ", ") + bases[i].table->backend + " " + bases[i].table->name +
             " " + bases[i].chain->name;
  }
  state.doubts.push_back("not known which is asked first, since all have priority " +
                         std::to_string(bases[state.base].priority) + ": " + names);
  // More chains have too many orders; a note says that some were not followed.
  constexpr std::size_t kMost = 3;
  if (tied > kMost) state.unsure = true;
  const auto first = state.order.begin() + static_cast<std::ptrdiff_t>(state.base);
  const auto last = first + static_cast<std::ptrdiff_t>(std::min(tied, kMost));
  while (std::next_permutation(first, last)) work_.push_back(state);
}

bool Run::Advance(State& state) {
  const auto& bases = Bases(state);
  if (!state.in_chain) {
    if (state.base == bases.size()) return LeaveHook(state);
    if (state.base >= state.ordered) ChooseOrder(state);
    const Walker::Base& base = Now(state);
    // NF_IP_PRI_CONNTRACK; packets through lo were already seen on the way out.
    if (base.priority > -200) state.packet.tracked = true;
    if (base.unread != nullptr && !base.unread->device.empty() &&
        base.unread->device != state.packet.in_interface) {
      ++state.base;
      return true;
    }
    if (base.unread != nullptr) {
      PathEntry entry;
      entry.unread = base.unread;
      entry.hook = state.hook;
      entry.uncertain = true;
      state.path.push_back(entry);
      state.unsure = true;
      ++state.base;
      return true;
    }
    if (base.chain->base->nat && Skips(state)) {
      ++state.base;
      return true;
    }
    state.stack.assign(1, {base.chain, 0});
    state.in_chain = true;
    return true;
  }
  if (state.stack.empty()) return EndOfBase(state, Now(state));
  if (++state.steps > kMostSteps) {
    state.notes.push_back("the rules do not come to an end");
    return End(state, Landing::kUnknown);
  }
  Frame& frame = state.stack.back();
  if (frame.next == frame.chain->rules.size()) {
    state.stack.pop_back();
    return true;
  }
  const std::size_t index = frame.next++;
  const ModelRule& rule = frame.chain->rules[index];
  PathEntry entry;
  entry.table = Now(state).table;
  entry.place = Now(state).place;
  entry.chain = frame.chain;
  entry.rule = index;
  entry.hook = state.hook;
  if (!rule.program.empty()) return Carry(state, rule, entry);
  const Meets meets = MeetsAll(rule, state.packet, walker_.host_);
  if (meets == Meets::kNo) return true;
  entry.uncertain = meets == Meets::kUnknown;
  // A rule that only counts makes no difference.
  if (entry.uncertain && std::holds_alternative<GoOn>(rule.action)) return true;
  if (entry.uncertain) work_.push_back(state);
  state.path.push_back(entry);
  return Do(state, rule.action, rule.leads_to, entry);
}

bool Run::EndOfBase(State& state, const Walker::Base& base) {
  state.in_chain = false;
  ++state.base;
  if (!base.chain->base->policy_drops) return true;
  PathEntry entry;
  entry.table = base.table;
  entry.chain = base.chain;
  entry.policy = true;
  entry.hook = state.hook;
  state.path.push_back(entry);
  return End(state, Landing::kDropped, entry);
}

bool Run::Skips(const State& state) const {
  if (state.packet.untracked) return true;
  const bool destination = state.hook == HookPoint::kPrerouting || state.hook == HookPoint::kOutput;
  return destination ? state.nat_done : state.source_done;
}

bool Run::Enter(State& state, HookPoint hook) {
  state.hook = hook;
  state.base = 0;
  state.order.clear();
  state.ordered = 0;
  state.in_chain = false;
  state.changed_here = false;
  return true;
}

bool Run::LeaveHook(State& state) {
  Traveller& packet = state.packet;
  switch (state.hook) {
    case HookPoint::kOutput: {
      state.nat_done = true;
      if (state.changed_here) {
        const RouteAnswer route = walker_.host_.Route({.to = packet.destination,
                                                       .from = connection_.from,
                                                       .mark = packet.mark,
                                                       .uid = packet.uid});
        if (route.kind == Kind::kNone || route.kind == Kind::kMartian) {
          state.notes.push_back("there is no route to " + packet.destination.ToString());
          return End(state, Landing::kDropped, state.redirected);
        }
        packet.out_interface = route.device;
        state.local = route.kind == Kind::kLocal;
      }
      return Enter(state, HookPoint::kPostrouting);
    }
    case HookPoint::kPostrouting:
      if (!state.local && packet.source.IsLoopback() && !packet.changed_source) {
        state.notes.push_back("a packet from " + packet.source.ToString() +
                              " is taken by no other host");
        return End(state, Landing::kDropped, state.redirected);
      }
      if (!state.local) return Arrive(state);
      // Through lo, the packet loses its socket, but keeps its mark and conntrack state.
      packet.in_interface = "lo";
      packet.out_interface.clear();
      packet.has_socket = false;
      state.looped = true;
      state.local = true;
      return Enter(state, HookPoint::kPrerouting);
    case HookPoint::kPrerouting:
      return LeavePrerouting(state);
    case HookPoint::kForward:
      packet.in_interface.clear();
      return Enter(state, HookPoint::kPostrouting);
    case HookPoint::kInput:
      return Arrive(state);
  }
  return false;
}

bool Run::LeavePrerouting(State& state) {
  Traveller& packet = state.packet;
  state.nat_done = true;
  if (!state.looped) {
    const bool known_source = connection_.from.has_value();
    const RouteAnswer route =
        walker_.host_.Route({.to = packet.destination,
                             .from = known_source ? std::optional(packet.source) : std::nullopt,
                             .in_interface = known_source ? packet.in_interface : "",
                             .arriving = true,
                             .mark = packet.mark});
    if (route.kind == Kind::kMartian) {
      state.notes.push_back("the kernel takes no packet from " + packet.source.ToString() + " on " +
                            packet.in_interface + " (rp_filter, or a martian address)");
      return End(state, Landing::kDropped);
    }
    if (route.kind == Kind::kNone) {
      state.notes.push_back(packet.destination.ToString() +
                            " is no address of this namespace, and is not forwarded");
      return End(state, Landing::kDropped);
    }
    if (route.kind == Kind::kUnknown) return End(state, Landing::kUnknown);
    if (!route.note.empty()) state.notes.push_back(route.note);
    state.local = route.kind != Kind::kForward;
    packet.out_interface = route.device;
  }
  if (state.local) {
    packet.out_interface.clear();
    return Enter(state, HookPoint::kInput);
  }
  if (state.tproxied) {
    state.notes.push_back(
        "the mark of TPROXY leads to no local route: the packet is forwarded, "
        "and does not reach the listener");
  }
  state.notes.push_back(packet.destination.ToString() +
                        " is no address of this namespace: the packet is forwarded, where "
                        "forwarding is on");
  return Enter(state, HookPoint::kForward);
}

bool Run::Arrive(State& state) {
  if (state.tproxied && state.local) {
    return Land(state, *state.tproxied, state.tproxy_port);
  }
  if (state.redirected) return Land(state, *state.redirected, state.packet.destination_port);
  return End(state, Landing::kDirect, state.let_go);
}

bool Run::Land(State& state, const PathEntry& entry, std::uint16_t port) {
  if (!state.local) {
    state.notes.push_back("goes to " + SocketAddress{state.packet.destination, port}.ToString() +
                          " by a rule that is not Sluice's");
    return End(state, Landing::kDirect, entry);
  }
  if (entry.chain->ours && port == pod::kRefusedPort) {
    return End(state, Landing::kRefused, entry);
  }
  if (const auto listener =
          entry.chain->ours ? ListenerOf(LocalName(*entry.chain)) : std::nullopt) {
    return End(state, *listener, entry, port);
  }
  for (const auto& [landing, of] : walker_.ports_) {
    if (of == port) return End(state, landing, entry, port);
  }
  state.notes.push_back("goes to port " + std::to_string(port) +
                        " of this namespace by a rule that is not Sluice's");
  return End(state, Landing::kDirect, entry);
}

bool Run::End(State& state, Landing landing, const std::optional<PathEntry>& decided,
              std::uint16_t port) {
  Outcome out;
  out.landing = landing;
  out.port = port;
  out.decided = decided;
  out.path = std::move(state.path);
  out.notes = std::move(state.notes);
  out.doubts = std::move(state.doubts);
  out.tproxied = state.tproxied.has_value();
  out.nat = state.redirected.has_value();
  out.destination = {state.packet.destination, state.packet.destination_port};
  out.source = state.packet.source;
  out.local = state.local;
  out.device = state.local ? state.packet.in_interface : state.packet.out_interface;
  // An unreadable base chain may have dropped or redirected it, and an unknown mark may have
  // routed it elsewhere.
  if (state.unsure || state.packet.mark_known != 0xffffffff) {
    Outcome other;
    other.landing = Landing::kUnknown;
    other.decided = out.decided;
    for (const PathEntry& entry : out.path) {
      if (entry.unread == nullptr) continue;
      other.decided = entry;
      break;
    }
    other.path = out.path;
    outcomes_.push_back(std::move(other));
  }
  outcomes_.push_back(std::move(out));
  return false;
}

}  // namespace sluice::capture::explain
