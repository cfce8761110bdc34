// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/explain/walk.h"

#include <algorithm>
#include <array>
#include <utility>

#include "capture/explain/test.h"

namespace sluice::capture::explain {
namespace {

using Kind = RouteAnswer::Kind;

// More than this differ in nothing that helps anybody.
constexpr std::size_t kMostOutcomes = 64;
// Of rules that were looked at, for one outcome: a loop of gotos cannot be loaded, and a very long
// list is still walked.
constexpr std::size_t kMostSteps = 1'000'000;

IpAddress Loopback(Family family) {
  constexpr std::array<std::uint8_t, 16> kV6 = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  return family == Family::kIpv4 ? IpAddress::V4(127, 0, 0, 1) : IpAddress::FromBytes(kV6);
}

// Who listens behind a Sluice rule.
std::optional<Landing> ListenerOf(std::string_view chain) {
  if (chain == "ISTIO_REDIRECT") return Landing::kOutbound;
  if (chain == "ISTIO_IN_REDIRECT" || chain == "ISTIO_TPROXY") return Landing::kInbound;
  if (chain == "ISTIO_OUTPUT_DNS") return Landing::kDns;
  return {};
}

}  // namespace

std::string_view Name(Landing landing) {
  constexpr std::array<std::string_view, 7> kNames = {"outbound", "inbound", "dns",    "direct",
                                                      "dropped",  "refused", "unknown"};
  return kNames.at(static_cast<std::size_t>(landing));
}

Walker::Walker(const Model& model, Host& host) : host_(host) {
  for (const ModelTable& table : model.tables) {
    for (const ModelChain& chain : table.chains) {
      if (chain.base) {
        at_[table.family == Family::kIpv6][static_cast<std::size_t>(chain.base->hook)].push_back(
            {chain.base->priority, &table, &chain, nullptr});
      }
      const auto listener = chain.ours ? ListenerOf(chain.name) : std::nullopt;
      if (!listener) continue;
      for (const ModelRule& rule : chain.rules) {
        if (const auto* redirect = std::get_if<RedirectToSelf>(&rule.action)) {
          if (redirect->port) ports_[*listener] = *redirect->port;
        } else if (const auto* tproxy = std::get_if<Tproxy>(&rule.action)) {
          ports_[*listener] = tproxy->port;
        }
      }
    }
  }
  for (const UnreadChain& unread : model.unread) {
    at_[unread.family == Family::kIpv6][static_cast<std::size_t>(unread.hook)].push_back(
        {unread.priority, nullptr, nullptr, &unread});
  }
  for (auto& family : at_) {
    for (auto& hook : family) std::ranges::stable_sort(hook, {}, &Base::priority);
  }
}

std::uint16_t Walker::PortOf(Landing landing) const {
  const auto found = ports_.find(landing);
  return found == ports_.end() ? std::uint16_t{0} : found->second;
}

// All ways of one connection: where a condition is not known both are followed.
class Run {
 public:
  Run(const Walker& walker, const Connection& connection)
      : walker_(walker), connection_(connection) {}

  std::vector<Outcome> All() {
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

 private:
  struct Frame {
    const ModelChain* chain;
    std::size_t next = 0;
  };
  struct State {
    Traveller packet;
    HookPoint hook = HookPoint::kOutput;
    std::size_t base = 0;  // which base chain of the hook
    std::vector<Frame> stack = {};
    bool in_chain = false;
    std::vector<Step> path = {};
    std::vector<std::string> notes = {};
    bool nat_done = false;  // the destination is settled, changed or not
    bool source_done = false;
    bool changed_here = false;  // what routes are looked up by, in this hook
    bool local = false;
    bool looped = false;  // it came by lo, and its route is known
    // A base chain was passed that could not be read, or one of several destinations was taken.
    bool unsure = false;
    std::optional<Step> redirected = {};
    std::optional<Step> tproxied = {};
    // The last rule that ended one of our decisions, or a chain of others, before any redirection.
    std::optional<Step> let_go = {};
    std::uint16_t tproxy_port = 0;
    std::size_t steps = 0;
  };

  Family family() const { return connection_.to.ip.family(); }

  bool Begin(State& state) {
    Traveller& packet = state.packet;
    packet.destination = connection_.to.ip;
    packet.destination_port = connection_.to.port;
    packet.source_port = connection_.from_port;
    packet.source_port_known = connection_.from_port_known;
    packet.protocol = connection_.protocol;
    packet.mark = connection_.mark;
    packet.state = connection_.state;
    packet.connmark_known = connection_.state == kStateNew;
    // The nat table is asked about the first packet of a connection that is tracked.
    const bool fresh = connection_.state == kStateNew;
    state.nat_done = !fresh;
    state.source_done = !fresh;
    if (connection_.state == kStateUntracked) packet.untracked = true;
    if (!fresh) {
      state.notes.push_back(
          connection_.state == kStateEstablished || connection_.state == kStateRelated
              ? "the nat table is asked about the first packet of a connection only: one that "
                "existed before the rules keeps going where it went"
              : "the nat table is not asked about a packet that conntrack does not know");
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
    // To an address of its own the kernel goes from that address.
    const IpAddress chosen = route.source.value_or(state.local ? connection_.to.ip : IpAddress());
    packet.source = connection_.from.value_or(chosen);
    return true;
  }

  const std::vector<Walker::Base>& Bases(const State& state) const {
    return walker_.at_[family() == Family::kIpv6][static_cast<std::size_t>(state.hook)];
  }

  // One rule, or one step from chain to chain. False when the way has ended.
  bool Advance(State& state) {
    const auto& bases = Bases(state);
    if (!state.in_chain) {
      if (state.base == bases.size()) return LeaveHook(state);
      const Walker::Base& base = bases[state.base];
      // NF_IP_PRI_CONNTRACK; what comes over lo has been looked at on its way out.
      if (base.priority > -200) state.packet.tracked = true;
      if (base.unread != nullptr) {
        Step step;
        step.unread = base.unread;
        step.hook = state.hook;
        step.uncertain = true;
        state.path.push_back(step);
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
    if (state.stack.empty()) return EndOfBase(state, bases[state.base]);
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
    const Meets meets = MeetsAll(rule, state.packet, walker_.host_);
    if (meets == Meets::kNo) return true;
    Step step;
    step.table = bases[state.base].table;
    step.chain = frame.chain;
    step.rule = index;
    step.hook = state.hook;
    step.uncertain = meets == Meets::kUnknown;
    // What only counts makes no difference.
    if (step.uncertain && std::holds_alternative<GoOn>(rule.action)) return true;
    if (step.uncertain) work_.push_back(state);
    state.path.push_back(step);
    return Do(state, rule, step);
  }

  bool Skips(const State& state) const {
    if (state.packet.untracked) return true;
    const bool destination =
        state.hook == HookPoint::kPrerouting || state.hook == HookPoint::kOutput;
    return destination ? state.nat_done : state.source_done;
  }

  bool EndOfBase(State& state, const Walker::Base& base) {
    state.in_chain = false;
    ++state.base;
    if (!base.chain->base->policy_drops) return true;
    Step step;
    step.table = base.table;
    step.chain = base.chain;
    step.policy = true;
    step.hook = state.hook;
    state.path.push_back(step);
    return End(state, Landing::kDropped, step);
  }

  // The verdict of this base chain is "accept": the next one is asked.
  static void LeaveBase(State& state) {
    state.stack.clear();
    state.in_chain = false;
    ++state.base;
  }

  // A decision not to capture, if this is where captures are decided.
  void LetGo(State& state, const Step& step) const {
    // Destinations change up to here (NF_IP_PRI_NAT_DST), and conntrack looks before that (-200).
    const int priority = Bases(state)[state.base].priority;
    const bool destination = step.hook == HookPoint::kPrerouting || step.hook == HookPoint::kOutput;
    if (!destination || state.redirected || priority < -200 || priority > -90) return;
    if (!step.chain->ours && step.chain->base == std::nullopt &&
        std::holds_alternative<Return>(step.get()->action)) {
      return;
    }
    // What the hook of the sender decided is not undone on the way through lo.
    if (state.let_go && state.let_go->table != nullptr && state.let_go->hook != step.hook) return;
    state.let_go = step;
  }

  bool Do(State& state, const ModelRule& rule, const Step& step) {
    Traveller& packet = state.packet;
    const Action& action = rule.action;
    if (std::holds_alternative<GoOn>(action)) return true;
    if (std::holds_alternative<Jump>(action) || std::holds_alternative<Goto>(action)) {
      const Frame next{&step.table->chains[rule.leads_to], 0};
      if (std::holds_alternative<Goto>(action)) state.stack.pop_back();
      state.stack.push_back(next);
      return true;
    }
    if (std::holds_alternative<Return>(action)) {
      LetGo(state, step);
      state.stack.pop_back();
      return true;
    }
    if (std::holds_alternative<Accept>(action)) {
      LetGo(state, step);
      LeaveBase(state);
      return true;
    }
    if (std::holds_alternative<Drop>(action)) return End(state, Landing::kDropped, step);
    if (std::holds_alternative<Reject>(action)) return End(state, Landing::kRefused, step);
    if (const auto* mark = std::get_if<XorMark>(&action)) {
      std::uint32_t& value = mark->of_connection ? packet.connmark : packet.mark;
      const std::uint32_t before = value;
      value = (value & ~mark->mask) ^ mark->value;
      if (!mark->of_connection && value != before) state.changed_here = true;
      return true;
    }
    if (const auto* copy = std::get_if<CopyMark>(&action)) {
      if (!packet.tracked || packet.untracked) return true;  // there is no connection
      std::uint32_t& to = copy->to_connection ? packet.connmark : packet.mark;
      const std::uint32_t from = copy->to_connection ? packet.mark : packet.connmark;
      const std::uint32_t before = to;
      to = (to & ~copy->to_mask) ^ (from & copy->from_mask);
      if (!copy->to_connection && to != before) state.changed_here = true;
      return true;
    }
    if (std::holds_alternative<NoTrack>(action)) {
      packet.untracked = true;
      state.let_go = step;
      return true;
    }
    if (std::holds_alternative<CtZone>(action)) return true;
    if (const auto* tproxy = std::get_if<Tproxy>(&action)) {
      packet.mark = (packet.mark & ~tproxy->mark.mask) ^ tproxy->mark.value;
      state.tproxied = step;
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
          return End(state, Landing::kDropped, step);
        }
      }
      if (redirect->random) {
        state.notes.push_back("the port is one of several, by \"" + rule.text + "\"");
        state.unsure = true;
      }
      Rewrite(state, step, self, redirect->port);
      return true;
    }
    if (const auto* change = std::get_if<ChangeDestination>(&action)) {
      if (change->random) {
        state.notes.push_back("the new destination is one of several, by \"" + rule.text + "\"");
        state.unsure = true;
      }
      Rewrite(state, step, change->address, change->port);
      return true;
    }
    // An unknown target may end the way or not.
    state.notes.push_back("what " + std::get<UnknownAction>(action).what + " does is not known");
    State on = state;
    on.path.back().uncertain = true;
    work_.push_back(std::move(on));
    state.path.back().uncertain = true;
    return End(state, Landing::kUnknown, state.path.back());
  }

  void Rewrite(State& state, const Step& step, const std::optional<IpAddress>& address,
               std::optional<std::uint16_t> port) {
    Traveller& packet = state.packet;
    if (address) packet.destination = *address;
    if (port) packet.destination_port = *port;
    packet.changed_destination = true;
    state.changed_here = true;
    state.nat_done = true;
    state.redirected = step;
    LeaveBase(state);
  }

  bool Enter(State& state, HookPoint hook) {
    state.hook = hook;
    state.base = 0;
    state.in_chain = false;
    state.changed_here = false;
    return true;
  }

  bool LeaveHook(State& state) {
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
        // Over lo: the socket stays behind, the mark and what conntrack knows come along.
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

  bool LeavePrerouting(State& state) {
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
        state.notes.push_back("the kernel takes no packet from " + packet.source.ToString() +
                              " on " + packet.in_interface + " (rp_filter, or a martian address)");
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

  // It has passed everything.
  bool Arrive(State& state) {
    if (state.tproxied && state.local) {
      return Land(state, *state.tproxied, state.tproxy_port);
    }
    if (state.redirected) return Land(state, *state.redirected, state.packet.destination_port);
    return End(state, Landing::kDirect, state.let_go);
  }

  // At a port of this namespace, or at another address.
  bool Land(State& state, const Step& step, std::uint16_t port) {
    if (!state.local) {
      state.notes.push_back("goes to " + SocketAddress{state.packet.destination, port}.ToString() +
                            " by a rule that is not Sluice's");
      return End(state, Landing::kDirect, step);
    }
    if (const auto listener = step.chain->ours ? ListenerOf(step.chain->name) : std::nullopt) {
      return End(state, *listener, step, port);
    }
    for (const auto& [landing, of] : walker_.ports_) {
      if (of == port) return End(state, landing, step, port);
    }
    state.notes.push_back("goes to port " + std::to_string(port) +
                          " of this namespace by a rule that is not Sluice's");
    return End(state, Landing::kDirect, step);
  }

  bool End(State& state, Landing landing, const std::optional<Step>& decided = std::nullopt,
           std::uint16_t port = 0) {
    Outcome out;
    out.landing = landing;
    out.port = port;
    out.decided = decided;
    out.path = std::move(state.path);
    out.notes = std::move(state.notes);
    out.tproxied = state.tproxied.has_value();
    out.nat = state.redirected.has_value();
    out.destination = {state.packet.destination, state.packet.destination_port};
    out.source = state.packet.source;
    out.local = state.local;
    out.device = state.local ? state.packet.in_interface : state.packet.out_interface;
    // A base chain that could not be read may have dropped or redirected it.
    if (state.unsure) {
      Outcome other;
      other.landing = Landing::kUnknown;
      other.decided = out.decided;
      for (const Step& step : out.path) {
        if (step.unread == nullptr) continue;
        other.decided = step;
        break;
      }
      other.path = out.path;
      outcomes_.push_back(std::move(other));
    }
    outcomes_.push_back(std::move(out));
    return false;
  }

  const Walker& walker_;
  const Connection& connection_;
  std::vector<State> work_;
  std::vector<Outcome> outcomes_;
};

Explanation Walker::Explain(const Connection& connection) const {
  Explanation out;
  out.candidates = Run(*this, connection).All();
  const Outcome& first = out.candidates.front();
  const bool agree = std::ranges::all_of(out.candidates, [&first](const Outcome& other) {
    return other.landing == first.landing && other.port == first.port &&
           other.landing != Landing::kUnknown;
  });
  // The last one is of the way on which every unknown condition held not, or the only one.
  out.outcome = out.candidates.front();
  if (agree || out.candidates.size() == 1) return out;
  Outcome unknown;
  unknown.landing = Landing::kUnknown;
  unknown.path = out.candidates.front().path;
  unknown.notes = out.candidates.front().notes;
  unknown.destination = first.destination;
  for (const Outcome& one : out.candidates) {
    const auto uncertain =
        std::ranges::find_if(one.path, [](const Step& step) { return step.uncertain; });
    if (uncertain == one.path.end()) continue;
    unknown.decided = *uncertain;
    unknown.path = one.path;
    break;
  }
  out.outcome = std::move(unknown);
  return out;
}

}  // namespace sluice::capture::explain
