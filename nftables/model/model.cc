// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "nftables/model/model.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <limits>
#include <map>
#include <string>

#include "nftables/codec.h"
#include "nftables/intervals.h"
#include "nftables/model/rule_model.h"
#include "nftables/program/rule_program.h"
#include "nftables/text.h"

namespace sluice::nftables {
namespace {

namespace ex = capture::explain;

bool IsOurs(const RawTable& table) {
  return table.name == kTableName && (table.family == NFPROTO_IPV4 || table.family == NFPROTO_IPV6);
}

bool Has(std::uint8_t table, Family family) {
  if (table == NFPROTO_INET) return true;
  return table == (family == Family::kIpv4 ? NFPROTO_IPV4 : NFPROTO_IPV6);
}

ex::BaseHook HookOf(const Base& base) {
  return {.hook = static_cast<ex::HookPoint>(base.hook),
          .priority = base.priority,
          .nat = base.type == "nat",
          .policy_drops = base.policy == NF_DROP,
          .reroutes = base.type == "route" && base.hook == NF_INET_LOCAL_OUT};
}

// The rule for which Sluice would have written this one, if there is such a rule.
void Recognise(const RawRule& raw, const RawTable& table, Family family, std::string_view chain,
               ex::ModelRule& rule) {
  const auto local = ParseChainName(chain);
  if (!local) return;
  Program program = DecodeProgram(raw.expressions, family).program;
  for (Expression& expression : program) {
    auto* const in = std::get_if<InSet>(&expression);
    if (in == nullptr) continue;
    const auto set = std::ranges::find(table.sets, in->name, &RawSet::name);
    std::vector<Element> elements;
    if (set == table.sets.end() || (set->flags & NFT_SET_INTERVAL) == 0 ||
        !DecodeElements(set->elements, family, elements)) {
      return;
    }
    in->ranges = ToRanges(std::move(elements), family);
    in->name.clear();
  }
  rule.known = ToRule(program, family, local->first);
  if (rule.known) rule.text = NftText(*rule.known, family, local->first);
}

// A packet that arrives on a device passes its ingress hook first.
void AddIngress(const RawTable& table, ex::Model& model) {
  for (const RawChain& chain : table.chains) {
    const bool ingress =
        chain.base && (table.family == NFPROTO_NETDEV
                           ? chain.base->hook == NF_NETDEV_INGRESS
                           : table.family == NFPROTO_INET && chain.base->hook == NF_INET_INGRESS);
    if (!ingress || (chain.rules.empty() && chain.base->policy != NF_DROP)) continue;
    for (const std::string& device : chain.devices) {
      for (const Family family : capture::kFamilies) {
        model.unread.push_back({.backend = "nftables",
                                .family = family,
                                .table = table.name,
                                .chain = chain.name,
                                .hook = ex::HookPoint::kPrerouting,
                                .priority = std::numeric_limits<int>::min(),
                                .device = device});
      }
    }
  }
}

ex::ModelTable TableOf(const RawTable& from, Family family, const ExtensionDecoder& extensions) {
  ex::ModelTable out{.backend = "nftables", .family = family, .name = from.name};
  out.kind = from.family == NFPROTO_INET ? "inet" : family == Family::kIpv4 ? "ip" : "ip6";
  const bool ours = IsOurs(from);
  std::map<std::string, std::size_t> sets;
  for (const RawSet& set : from.sets) {
    sets.emplace(set.name, out.sets.size());
    out.sets.push_back(DecodeSet(set));
  }
  for (const RawChain& chain : from.chains) {
    ex::ModelChain to{.name = chain.name};
    if (chain.base) {
      if (chain.base->hook > NF_INET_POST_ROUTING) continue;
      to.base = HookOf(*chain.base);
    }
    to.ours = ours && !chain.base;
    for (const RawRule& rule : chain.rules) {
      to.rules.push_back(DecodeModelRule(rule, family, sets, out.sets, extensions));
      to.rules.back().handle = rule.handle;
      if (ours) Recognise(rule, from, family, chain.name, to.rules.back());
    }
    out.chains.push_back(std::move(to));
  }
  // Base chains first, as in x_tables.
  std::ranges::stable_sort(out.chains, [](const ex::ModelChain& a, const ex::ModelChain& b) {
    if (a.base.has_value() != b.base.has_value()) return a.base.has_value();
    if (a.base) return a.base->hook < b.base->hook;
    return a.name < b.name;
  });
  return out;
}

}  // namespace

void AddModel(const Ruleset& ruleset, const ExtensionDecoder& extensions, ex::Model& model) {
  for (const RawTable& table : ruleset.tables) {
    if (table.dormant) continue;
    AddIngress(table, model);
    for (const Family family : capture::kFamilies) {
      if (Has(table.family, family)) model.tables.push_back(TableOf(table, family, extensions));
    }
  }
}

ex::Model PlannedModel(const capture::RuleSet& rules) {
  ex::Model model;
  model.planned = true;
  AddModel(ToRuleset(rules), {}, model);
  // Which tables exist is known without reading them.
  for (ex::ModelTable& table : model.tables) {
    const FamilyState state = ToState(rules.family(table.family));
    for (ex::ModelChain& chain : table.chains) {
      const ChainState* const from = FindChain(state, chain.name);
      const auto local = ParseChainName(chain.name);
      if (from == nullptr || !local) continue;
      for (std::size_t i = 0; i < std::min(from->rules.size(), chain.rules.size()); ++i) {
        chain.rules[i].known = ToRule(from->rules[i].program, table.family, local->first);
        if (!chain.rules[i].known) continue;
        chain.rules[i].text = NftText(*chain.rules[i].known, table.family, local->first);
      }
    }
  }
  ex::Finish(model);
  return model;
}

}  // namespace sluice::nftables
