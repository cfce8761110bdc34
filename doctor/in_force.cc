// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "doctor/in_force.h"

#include <algorithm>
#include <string_view>

#include "base/pod_contract.h"
#include "capture/explain/model.h"

namespace sluice::doctor {
namespace {

using capture::FamilyRules;
using capture::Hook;
using capture::TableRules;

// The port of DNS queries.
constexpr std::uint16_t kDnsPort = 53;

bool IsForDns(const capture::Rule& rule) {
  return std::ranges::any_of(rule.matches, [](const capture::Match& match) {
    const auto* const ports = std::get_if<capture::PortMatch>(&match);
    return ports != nullptr && ports->destination && !ports->destination->negated &&
           ports->destination->value == PortRange::Single(kDnsPort);
  });
}

// Collects the ports to which the chains of one table lead.
class Collector {
 public:
  Collector(Family family, const TableRules& table, std::vector<Destination>& out)
      : family_(family), table_(table), out_(out) {}

  void From(Hook hook) {
    seen_.clear();
    outside_ = hook == Hook::kPrerouting;
    for (const capture::EntryJump& jump : table_.jumps) {
      if (jump.hook == hook) Visit(jump.rule);
    }
  }

 private:
  void Visit(const capture::Rule& rule) {
    if (const auto* jump = std::get_if<capture::Jump>(&rule.target)) return Visit(jump->chain);
    if (const auto* go = std::get_if<capture::Goto>(&rule.target)) return Visit(go->chain);
    Destination found{.family = family_,
                      .protocol = rule.protocol.value_or(capture::Protocol::kTcp),
                      .from_outside = outside_,
                      .dns = IsForDns(rule)};
    if (const auto* redirect = std::get_if<capture::Redirect>(&rule.target)) {
      // That is to refuse, and nobody needs to listen.
      if (redirect->port == pod::kRefusedPort) return;
      found.port = redirect->port;
    } else if (const auto* tproxy = std::get_if<capture::Tproxy>(&rule.target)) {
      found.port = tproxy->port;
      found.transparent = true;
    } else {
      return;
    }
    Add(found);
  }

  void Visit(const std::string& chain) {
    if (!seen_.insert(chain).second) return;
    const auto found = std::ranges::find(table_.chains, chain, &capture::Chain::name);
    if (found == table_.chains.end()) return;
    for (const capture::Rule& rule : found->rules) Visit(rule);
  }

  void Add(const Destination& found) {
    for (Destination& there : out_) {
      if (there.family != found.family || there.protocol != found.protocol ||
          there.port != found.port) {
        continue;
      }
      there.from_outside |= found.from_outside;
      there.transparent |= found.transparent;
      there.dns &= found.dns;
      return;
    }
    out_.push_back(found);
  }

  const Family family_;
  const TableRules& table_;
  std::vector<Destination>& out_;
  std::set<std::string> seen_;
  bool outside_ = false;
};

bool AsksForListeners(const TableRules& table) {
  return std::ranges::any_of(table.chains, [](const capture::Chain& chain) {
    return std::ranges::any_of(chain.rules, [](const capture::Rule& rule) {
      return std::ranges::any_of(rule.matches, [](const capture::Match& match) {
        return std::holds_alternative<capture::SocketMatch>(match);
      });
    });
  });
}

void TakeOwners(const capture::RuleSet& rules, InForce& out) {
  const auto model = capture::explain::ModelOf(rules, "");
  for (const auto& table : model.tables) {
    for (const auto& chain : table.chains) {
      for (const auto& rule : chain.rules) {
        const auto take = [&rule](std::string_view flag, std::set<std::uint32_t>& ids) {
          if (!rule.flag.starts_with(flag)) return;
          ids.insert(static_cast<std::uint32_t>(std::stoul(rule.flag.substr(flag.size()))));
        };
        take("--proxy-uid=", out.uids);
        take("--proxy-gid=", out.gids);
      }
    }
  }
}

}  // namespace

std::string Destination::ToString() const {
  return std::to_string(port) + "/" + std::string(capture::Name(protocol)) + " over " +
         std::string(sluice::Name(family));
}

bool InForce::Has(Family family) const {
  return std::ranges::find(destinations, family, &Destination::family) != destinations.end();
}

bool HasRules(const capture::RuleSet& rules) {
  const auto has = [](const FamilyRules& family) {
    return std::ranges::any_of(family.tables,
                               [](const TableRules& table) { return !table.empty(); });
  };
  return has(rules.v4) || has(rules.v6);
}

InForce FindInForce(const Facts& facts) {
  InForce out;
  out.rules = facts.planned;
  for (const BackendFacts& backend : facts.backends) {
    if (!backend.ours && out.unseen.empty()) out.unseen = backend.ours.why_not;
  }
  for (const BackendFacts& backend : facts.backends) {
    if (!backend.ours || !HasRules(*backend.ours)) continue;
    out.rules = *backend.ours;
    out.installed = true;
    out.backend = backend.name;
    break;
  }
  for (const Family family : capture::kFamilies) {
    for (const TableRules& table : out.rules.family(family).tables) {
      Collector collector(family, table, out.destinations);
      collector.From(Hook::kPrerouting);
      collector.From(Hook::kOutput);
      out.listening |= AsksForListeners(table);
    }
  }
  for (const Destination& destination : out.destinations) {
    out.tproxy |= destination.transparent;
    out.dns |= destination.dns;
  }
  TakeOwners(out.rules, out);
  return out;
}

}  // namespace sluice::doctor
