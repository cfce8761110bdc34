// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/explain/walk.h"

#include <algorithm>
#include <array>
#include <utility>

#include "capture/explain/order.h"
#include "capture/explain/run.h"

namespace sluice::capture::explain {

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
            matters = !Commute({*hook[a].table, *hook[a].chain}, {*hook[b].table, *hook[b].chain});
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
