// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "trace/attribution.h"

#include <algorithm>
#include <variant>

namespace sluice::trace {
namespace {

using namespace capture::explain;

// Of linux/netfilter/nf_tables.h and linux/netfilter.h.
constexpr std::int32_t kAccept = 1;
constexpr std::int32_t kReturn = -5;

struct Does {
  bool redirects = false;
  bool tproxies = false;
  bool refuses = false;
};

void Note(const Action& action, Does& out) {
  out.redirects |= std::holds_alternative<RedirectToSelf>(action) ||
                   std::holds_alternative<ChangeDestination>(action);
  out.tproxies |= std::holds_alternative<capture::Tproxy>(action);
  out.refuses |= std::holds_alternative<Reject>(action);
}

Does DeedsOfRule(const ModelRule& rule) {
  Does out;
  Note(rule.action, out);
  for (const Op& op : rule.program) {
    out.redirects |= std::holds_alternative<NatTo>(op);
    out.tproxies |= std::holds_alternative<TproxyTo>(op);
    if (const auto* act = std::get_if<Act>(&op)) Note(act->action, out);
  }
  return out;
}

bool SameRule(const std::optional<PathEntry>& a, const std::optional<PathEntry>& b) {
  if (!a || !b) return a.has_value() == b.has_value();
  return a->chain == b->chain && a->rule == b->rule && a->policy == b->policy &&
         a->unread == b->unread;
}

// Whether a path through the rules ends where conntrack reports.
bool LeadsThere(const Outcome& outcome, const Seen& seen) {
  if (outcome.landing == Landing::kDropped || outcome.landing == Landing::kRefused ||
      outcome.landing == Landing::kUnknown) {
    return false;
  }
  if (!seen.redirected()) {
    return !outcome.nat || outcome.destination == seen.original.to;
  }
  // In some cases the kernel chooses the address: REDIRECT, or one of several.
  return outcome.nat && outcome.destination.port == seen.reply->from.port;
}

}  // namespace

Attributor::Attributor(const Model& model, std::function<std::uint16_t(Landing)> port_of)
    : port_of_(std::move(port_of)) {
  for (const ModelTable& table : model.tables) {
    if (table.backend != "nftables") continue;
    for (const ModelChain& chain : table.chains) {
      PathEntry entry{.table = &table, .chain = &chain};
      entry.policy = true;
      rules_[{table.family, table.name, chain.name, 0}] = entry;
      entry.policy = false;
      for (std::size_t i = 0; i < chain.rules.size(); ++i) {
        entry.rule = i;
        if (chain.rules[i].handle != 0) {
          rules_[{table.family, table.name, chain.name, chain.rules[i].handle}] = entry;
        }
      }
    }
  }
}

Attributor::Traced Attributor::Follow(const Seen& seen) const {
  Traced out;
  const Family family = seen.original.from.ip.family();
  const ModelChain* base = nullptr;
  for (const TraceEvent& step : seen.steps) {
    const bool rule = step.type == TraceEvent::Type::kRule;
    const bool policy = step.type == TraceEvent::Type::kPolicy;
    if (step.table.starts_with(kTableNames)) {
      out.any = true;
      continue;
    }
    if ((!rule || step.handle == 0) && !policy) continue;
    const auto found = rules_.find({family, step.table, step.chain, rule ? step.handle : 0});
    if (found == rules_.end()) {
      out.unknown_rules = true;
      continue;
    }
    PathEntry entry = found->second;
    if (entry.chain->base) base = entry.chain;
    if (base != nullptr) {
      entry.hook = base->base->hook;
      // NF_IP_PRI_NAT_DST: where all chains stand that change destinations.
      entry.place = base->base->nat ? -100 : base->base->priority;
    }
    const bool drops = step.verdict && *step.verdict >= 0 && (*step.verdict & 0xff) == 0;
    if (policy) {
      if (drops) out.dropped = entry;
      continue;
    }
    out.path.push_back(entry);
    const Does does = DeedsOfRule(*entry.get());
    if (drops) {
      out.dropped = entry;
      out.refused = does.refuses;
      continue;
    }
    const bool destination =
        entry.hook == HookPoint::kPrerouting || entry.hook == HookPoint::kOutput;
    if (!destination) continue;
    if (does.redirects) {
      out.redirected = entry;
    } else if (does.tproxies) {
      out.tproxied = entry;
    } else if (step.verdict == kAccept || step.verdict == kReturn) {
      // As in the walk (LetGo in capture/explain/walk.cc).
      if (out.redirected || out.tproxied || entry.place < -200 || entry.place > -90) continue;
      if (!entry.chain->ours && !entry.chain->base && step.verdict == kReturn) continue;
      if (out.let_go && out.let_go->hook != entry.hook) continue;
      out.let_go = entry;
    }
  }
  return out;
}

Landing Attributor::ListenerAt(std::uint16_t port) const {
  for (const Landing landing : {Landing::kOutbound, Landing::kInbound, Landing::kDns}) {
    if (port != 0 && port_of_(landing) == port) return landing;
  }
  return Landing::kDirect;
}

Attribution Attributor::Of(const Seen& seen, const Explanation& explanation,
                           bool lands_here) const {
  Attribution out;
  const Traced traced = Follow(seen);
  out.stale = traced.unknown_rules;
  out.path = traced.path;
  const auto take = [&out](const std::optional<PathEntry>& entry) {
    out.decided = entry;
    out.known_by = KnownBy::kTrace;
  };
  if (seen.dropped()) {
    out.landing = traced.refused ? Landing::kRefused : Landing::kDropped;
    if (traced.dropped) take(traced.dropped);
    return out;
  }
  // The paths that lead to what conntrack reports. If they have different ends, it is not known
  // which one was taken.
  std::vector<const Outcome*> ways;
  for (const Outcome& one : explanation.candidates) {
    if (LeadsThere(one, seen)) ways.push_back(&one);
  }
  const auto agree = [&ways](auto same) {
    return !ways.empty() && std::ranges::all_of(ways, [&](const Outcome* other) {
      return same(*ways.front(), *other);
    });
  };
  const bool one_landing = agree([](const Outcome& a, const Outcome& b) {
    return a.landing == b.landing && a.port == b.port;
  });
  const bool one_rule = one_landing && agree([](const Outcome& a, const Outcome& b) {
                          return SameRule(a.decided, b.decided);
                        });
  const auto explain = [&] {
    if (!one_rule) return;
    out.decided = ways.front()->decided;
    out.path = ways.front()->path;
    out.known_by = KnownBy::kExplanation;
  };
  if (seen.redirected()) {
    const SocketAddress& landed = seen.reply->from;
    out.landing = lands_here ? ListenerAt(landed.port) : Landing::kDirect;
    if (out.landing != Landing::kDirect) {
      out.port = landed.port;
    } else {
      out.notes.push_back("goes to " + landed.ToString() + " by a rule that is not Sluice's");
    }
    if (traced.redirected) {
      take(traced.redirected);
    } else {
      explain();
    }
  } else if (traced.tproxied) {
    take(traced.tproxied);
    out.port = port_of_(Landing::kInbound);
    out.landing = out.port == 0 ? Landing::kDirect : Landing::kInbound;
  } else if (one_landing && ways.front()->tproxied) {
    // TPROXY leaves no trace in conntrack's entry. A packet of this namespace meets it when it
    // comes through lo, behind the event.
    explain();
    out.landing = ways.front()->landing;
    out.port = ways.front()->port;
  } else if (!one_landing && !ways.empty()) {
    out.notes.push_back("conntrack does not show whether TPROXY has taken it");
    out.stale = true;
  } else {
    out.landing = Landing::kDirect;
    if (traced.let_go) {
      take(traced.let_go);
    } else if (traced.any && !traced.unknown_rules) {
      // nf_tables had no part in it. The walk may know it from x_tables.
      explain();
      if (out.known_by == KnownBy::kNothing) out.known_by = KnownBy::kTrace;
    } else {
      explain();
    }
  }
  if (out.known_by == KnownBy::kNothing) {
    out.stale = true;
    if (ways.empty()) {
      out.notes.push_back("the rules, as they are now, do not explain it");
    } else if (out.landing != Landing::kUnknown) {
      out.notes.push_back("several rules may have decided, depending on who has sent it");
    }
  }
  return out;
}

}  // namespace sluice::trace
