// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/explain/walk.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/pod_contract.h"
#include "capture/explain/machine.h"
#include "capture/explain/test.h"

namespace sluice::capture::explain {
namespace {

using Kind = RouteAnswer::Kind;

// More outcomes would not tell the user anything new.
constexpr std::size_t kMostOutcomes = 64;
// The limit of rules checked for one outcome. The kernel refuses loops of gotos, and very long
// lists are still within the limit.
constexpr std::size_t kMostSteps = 1'000'000;

IpAddress Loopback(Family family) {
  constexpr std::array<std::uint8_t, 16> kV6 = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  return family == Family::kIpv4 ? IpAddress::V4(127, 0, 0, 1) : IpAddress::FromBytes(kV6);
}

// Which listener a Sluice rule leads to.
std::optional<Landing> ListenerOf(std::string_view chain) {
  if (chain == "ISTIO_REDIRECT") return Landing::kOutbound;
  if (chain == "ISTIO_IN_REDIRECT" || chain == "ISTIO_TPROXY") return Landing::kInbound;
  if (chain == "ISTIO_OUTPUT_DNS") return Landing::kDns;
  return {};
}

// The effects of chains that make their order matter.
struct Deeds {
  bool writes = false;  // changes what later rules match
  bool refuses = false;
  bool drops = false;
};

void Note(const Action& action, Deeds& deeds) {
  if (std::holds_alternative<Drop>(action)) deeds.drops = true;
  if (std::holds_alternative<Reject>(action)) deeds.refuses = true;
  const bool harmless =
      std::holds_alternative<GoOn>(action) || std::holds_alternative<Accept>(action) ||
      std::holds_alternative<Drop>(action) || std::holds_alternative<Reject>(action) ||
      std::holds_alternative<Return>(action) || std::holds_alternative<Jump>(action) ||
      std::holds_alternative<Goto>(action);
  if (!harmless) deeds.writes = true;
}

void Collect(const ModelTable& table, std::size_t at, std::vector<bool>& seen, Deeds& deeds) {
  if (at >= table.chains.size() || seen[at]) return;
  seen[at] = true;
  for (const ModelRule& rule : table.chains[at].rules) {
    Note(rule.action, deeds);
    Collect(table, rule.leads_to, seen, deeds);
    for (const Op& op : rule.program) {
      if (const auto* act = std::get_if<Act>(&op)) {
        Note(act->action, deeds);
        Collect(table, act->leads_to, seen, deeds);
      } else if (const auto* lookup = std::get_if<Lookup>(&op)) {
        if (lookup->set >= table.sets.size()) continue;
        const SetModel& set = table.sets[lookup->set];
        const auto item = [&](const SetItem& of) {
          if (!of.verdict) return;
          Note(of.verdict->action, deeds);
          Collect(table, of.verdict->leads_to, seen, deeds);
        };
        std::ranges::for_each(set.items, item);
        if (set.otherwise) item(*set.otherwise);
      } else if (std::holds_alternative<StoreMark>(op) || std::holds_alternative<NatTo>(op) ||
                 std::holds_alternative<TproxyTo>(op)) {
        deeds.writes = true;
      }
    }
  }
}

Deeds DeedsOf(const ModelTable& table, const ModelChain& chain) {
  Deeds deeds;
  std::vector<bool> seen(table.chains.size());
  Collect(table, static_cast<std::size_t>(&chain - table.chains.data()), seen, deeds);
  deeds.drops = deeds.drops || (chain.base && chain.base->policy_drops);
  return deeds;
}

// Whether a packet ends up in the same place in either order.
bool Commute(const Deeds& a, const Deeds& b) {
  const auto inert = [](const Deeds& d) { return !d.writes && !d.refuses && !d.drops; };
  if (inert(a) || inert(b)) return true;
  return !a.writes && !b.writes && !a.refuses && !b.refuses;
}

// Whether evaluation continues after this action.
bool GoesOn(const Action& action) {
  return std::holds_alternative<GoOn>(action) || std::holds_alternative<XorMark>(action) ||
         std::holds_alternative<CopyMark>(action) || std::holds_alternative<CtZone>(action) ||
         std::holds_alternative<NoTrack>(action);
}

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

std::string_view Name(Landing landing) {
  constexpr std::array<std::string_view, 7> kNames = {"outbound", "inbound", "dns",    "direct",
                                                      "dropped",  "refused", "unknown"};
  return kNames.at(static_cast<std::size_t>(landing));
}

// NF_IP_PRI_NAT_DST and NF_IP_PRI_NAT_SRC: nf_nat_register_fn() uses one hook for all chains.
void Walker::Add(Family family, HookPoint hook, Base base) {
  base.place = base.priority;
  if (base.chain != nullptr && base.chain->base->nat) {
    const bool destination = hook == HookPoint::kPrerouting || hook == HookPoint::kOutput;
    base.place = destination ? -100 : 100;
  }
  at_[family == Family::kIpv6][static_cast<std::size_t>(hook)].push_back(base);
}

Walker::Walker(const Model& model, Host& host) : host_(host) {
  for (const ModelTable& table : model.tables) {
    for (const ModelChain& chain : table.chains) {
      if (chain.base) {
        Add(table.family, chain.base->hook,
            {.priority = chain.base->priority, .table = &table, .chain = &chain});
      }
      const auto listener = chain.ours ? ListenerOf(LocalName(chain)) : std::nullopt;
      if (!listener) continue;
      for (const ModelRule& rule : chain.rules) {
        if (!rule.known) continue;
        if (const auto* redirect = std::get_if<Redirect>(&rule.known->target)) {
          ports_[*listener] = redirect->port;
        } else if (const auto* tproxy = std::get_if<Tproxy>(&rule.known->target)) {
          ports_[*listener] = tproxy->port;
        }
      }
    }
  }
  for (const UnreadChain& unread : model.unread) {
    Add(unread.family, unread.hook, {.priority = unread.priority, .unread = &unread});
  }
  for (auto& family : at_) {
    for (auto& hook : family) {
      std::ranges::stable_sort(hook, [](const Base& a, const Base& b) {
        return a.place != b.place ? a.place < b.place : a.priority < b.priority;
      });
      // Of two in one place the one registered later runs first, and that is not known here.
      for (std::size_t i = 0; i < hook.size();) {
        std::size_t end = i + 1;
        while (end < hook.size() && hook[end].place == hook[i].place &&
               (hook[end].priority == hook[i].priority)) {
          ++end;
        }
        bool matters = false;
        for (std::size_t a = i; a < end; ++a) {
          for (std::size_t b = a + 1; b < end && !matters; ++b) {
            if (hook[a].chain == nullptr || hook[b].chain == nullptr) continue;
            matters = !Commute(DeedsOf(*hook[a].table, *hook[a].chain),
                               DeedsOf(*hook[b].table, *hook[b].chain));
          }
        }
        if (matters) hook[i].tied = end - i;
        i = end;
      }
    }
  }
}

std::uint16_t Walker::PortOf(Landing landing) const {
  const auto found = ports_.find(landing);
  return found == ports_.end() ? std::uint16_t{0} : found->second;
}

// All paths of one connection: where a condition is not known, both branches are followed.
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
    std::size_t base = 0;  // how many base chains of the hook are done
    // The order of base chains, as indices, where it differs from the known one.
    std::vector<std::size_t> order = {};
    std::size_t ordered = 0;  // the order is chosen up to here
    std::vector<Frame> stack = {};
    bool in_chain = false;
    std::vector<PathEntry> path = {};
    std::vector<std::string> notes = {};
    bool nat_done = false;  // the destination is final, changed or not
    bool source_done = false;
    bool changed_here = false;  // something that routing depends on, in this hook
    bool local = false;
    bool looped = false;  // it came through lo, and its route is known
    // It passed an unreadable base chain, or one of several destinations was chosen.
    bool unsure = false;
    std::vector<std::string> doubts = {};
    std::optional<PathEntry> redirected = {};
    std::optional<PathEntry> tproxied = {};
    // The last rule that ended a decision of Sluice, or a foreign chain, before any redirection.
    std::optional<PathEntry> let_go = {};
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

  const std::vector<Walker::Base>& Bases(const State& state) const {
    return walker_.at_[family() == Family::kIpv6][static_cast<std::size_t>(state.hook)];
  }
  // The current base chain.
  const Walker::Base& Now(const State& state) const {
    return Bases(state)[state.order.empty() ? state.base : state.order[state.base]];
  }

  // Follows each order of base chains that share a place.
  void ChooseOrder(State& state) {
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

  // One rule, or one entry between chains. False when the path has ended.
  bool Advance(State& state) {
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

  // An nf_tables rule. If a part of it is not known, both branches are followed.
  bool Carry(State& state, const ModelRule& rule, PathEntry entry) {
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

  // A verdict map.
  bool Branch(State& state, const Lookup& lookup, const Machine& machine, PathEntry entry,
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

  void Store(State& state, const StoreMark& store, const Bits& bits) const {
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

  // In OUTPUT some chains make the kernel route the packet again.
  void MarkChanged(State& state) const {
    if (Now(state).chain->base->reroutes) state.changed_here = true;
  }

  static Action NatOf(const NatTo& nat, const Machine& machine) {
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
    PathEntry entry;
    entry.table = base.table;
    entry.chain = base.chain;
    entry.policy = true;
    entry.hook = state.hook;
    state.path.push_back(entry);
    return End(state, Landing::kDropped, entry);
  }

  // This base chain accepted the packet; continue with the next one.
  static void LeaveBase(State& state) {
    state.stack.clear();
    state.in_chain = false;
    ++state.base;
  }

  // Records a decision not to capture, if it is made where capturing is decided.
  void LetGo(State& state, const PathEntry& entry) const {
    // Destinations change up to this priority (NF_IP_PRI_NAT_DST); conntrack runs earlier (-200).
    const int priority = Now(state).place;
    const bool destination =
        entry.hook == HookPoint::kPrerouting || entry.hook == HookPoint::kOutput;
    if (!destination || state.redirected || priority < -200 || priority > -90) return;
    if (!entry.chain->ours && entry.chain->base == std::nullopt &&
        std::holds_alternative<Return>(entry.get()->action)) {
      return;
    }
    // The way through lo does not undo a decision of the sender's hook.
    if (state.let_go && state.let_go->table != nullptr && state.let_go->hook != entry.hook) return;
    state.let_go = entry;
  }

  bool Do(State& state, const Action& action, std::size_t leads_to, const PathEntry& entry) {
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

  void Rewrite(State& state, const PathEntry& entry, const std::optional<IpAddress>& address,
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

  bool Enter(State& state, HookPoint hook) {
    state.hook = hook;
    state.base = 0;
    state.order.clear();
    state.ordered = 0;
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

  // It has passed all chains.
  bool Arrive(State& state) {
    if (state.tproxied && state.local) {
      return Land(state, *state.tproxied, state.tproxy_port);
    }
    if (state.redirected) return Land(state, *state.redirected, state.packet.destination_port);
    return End(state, Landing::kDirect, state.let_go);
  }

  // Arrives at a port of this namespace, or at another address.
  bool Land(State& state, const PathEntry& entry, std::uint16_t port) {
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

  bool End(State& state, Landing landing, const std::optional<PathEntry>& decided = std::nullopt,
           std::uint16_t port = 0) {
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

  const Walker& walker_;
  const Connection& connection_;
  std::vector<State> work_;
  std::vector<Outcome> outcomes_;
};

namespace {

// Whether it ends before destinations change; an established connection does so, too.
bool EndsEarly(const Outcome& outcome) {
  const bool ends = outcome.landing == Landing::kDropped || outcome.landing == Landing::kRefused;
  if (!ends || !outcome.decided) return ends;
  const PathEntry& entry = *outcome.decided;
  if (entry.unread != nullptr || entry.uncertain) return false;
  return (entry.hook == HookPoint::kPrerouting || entry.hook == HookPoint::kOutput) &&
         entry.place < -100;
}

}  // namespace

// A connection that conntrack knows goes where its entry says, which Sluice has not read: its
// original destination, or where the rules sent it when it began.
Explanation Walker::ExplainKnown(const Connection& connection) const {
  Explanation now;
  now.candidates = Run(*this, connection).All();
  if (now.candidates.size() == 1 && EndsEarly(now.candidates.front())) {
    now.outcome = now.candidates.front();
    return now;
  }
  Connection fresh = connection;
  fresh.state = kStateNew;
  Explanation out = ExplainFresh(fresh);
  Outcome before;
  before.landing = Landing::kDirect;
  before.notes.push_back("direct, if it existed before the rules");
  before.destination = connection.to;
  Outcome began = std::move(out.outcome);
  out.candidates.insert(out.candidates.begin(), std::move(before));
  out.outcome = Outcome();
  out.outcome.landing = Landing::kUnknown;
  out.outcome.destination = connection.to;
  out.outcome.path = std::move(began.path);
  out.outcome.notes = {
      "the nat table is asked about the first packet of a connection only: one that existed before "
      "the rules keeps going where it went, and a later one goes where the rules led its first "
      "packet; its entry in conntrack says which (\"conntrack -L\")",
      "a new connection would be: " + std::string(Name(began.landing)) +
          (began.port == 0 ? "" : ", port " + std::to_string(began.port))};
  return out;
}

Explanation Walker::Explain(const Connection& connection) const {
  const bool known = connection.state == kStateEstablished || connection.state == kStateRelated;
  return known ? ExplainKnown(connection) : ExplainFresh(connection);
}

Explanation Walker::ExplainFresh(const Connection& connection) const {
  Explanation out;
  out.candidates = Run(*this, connection).All();
  const Outcome& first = out.candidates.front();
  const bool agree = std::ranges::all_of(out.candidates, [&first](const Outcome& other) {
    return other.landing == first.landing && other.port == first.port &&
           other.landing != Landing::kUnknown;
  });
  // The last one is the path on which no unknown condition matched, or the only path.
  out.outcome = out.candidates.front();
  if (agree || out.candidates.size() == 1) return out;
  Outcome unknown;
  unknown.landing = Landing::kUnknown;
  unknown.path = out.candidates.front().path;
  unknown.notes = out.candidates.front().notes;
  unknown.destination = first.destination;
  for (const Outcome& one : out.candidates) {
    const auto uncertain =
        std::ranges::find_if(one.path, [](const PathEntry& entry) { return entry.uncertain; });
    if (uncertain == one.path.end()) continue;
    unknown.decided = *uncertain;
    unknown.path = one.path;
    break;
  }
  out.outcome = std::move(unknown);
  return out;
}

}  // namespace sluice::capture::explain
