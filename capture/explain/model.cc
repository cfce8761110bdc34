// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/explain/model.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "capture/explain/cause.h"
#include "capture/rule_text.h"

namespace sluice::capture::explain {
namespace {

struct TestsOf {
  std::vector<Test>& out;

  void operator()(const PortMatch& match) const {
    const auto add = [this](PortTest::Of of, const std::optional<Condition<PortRange>>& ports) {
      if (ports) out.push_back(PortTest{of, ports->negated, {ports->value}});
    };
    add(PortTest::Of::kSource, match.source);
    add(PortTest::Of::kDestination, match.destination);
  }
  void operator()(const OwnerMatch& match) const {
    const auto add = [this](bool group, const std::optional<Condition<std::uint32_t>>& id) {
      if (id) out.push_back(OwnerTest{group, id->negated, id->value, id->value});
    };
    add(false, match.uid);
    add(true, match.gid);
  }
  void operator()(const ConntrackStateMatch& match) const {
    const int states = (match.invalid ? kStateInvalid : 0) |
                       (match.established ? kStateEstablished : 0) |
                       (match.related ? kStateRelated : 0);
    out.push_back(StateTest{static_cast<std::uint16_t>(states)});
  }
  void operator()(const MarkMatch& match) const {
    out.push_back(MarkTest{false, match.mark.negated, match.mark.value});
  }
  void operator()(const ConnmarkMatch& match) const {
    out.push_back(MarkTest{true, match.mark.negated, match.mark.value});
  }
  void operator()(const SocketMatch&) const { out.push_back(SocketTest{}); }
};

struct ActionOf {
  Action operator()(const Redirect& redirect) const { return RedirectToSelf{redirect.port}; }
  // The kernel uses xor; the result is the same if the value is within the mask.
  Action operator()(const SetMark& set) const {
    return XorMark{false, set.mark.value, set.mark.mask};
  }
  Action operator()(const SaveConnmark& save) const { return CopyMark{true, save.mask, save.mask}; }
  Action operator()(const RestoreConnmark& restore) const {
    return CopyMark{false, restore.mask, restore.mask};
  }
  template <typename T>
  Action operator()(const T& same) const {
    return same;
  }
};

ModelTable TableOf(const TableRules& rules, Family family, std::string_view backend) {
  ModelTable table{
      .backend = std::string(backend), .family = family, .name = std::string(Name(rules.table))};
  for (const Hook hook : {Hook::kPrerouting, Hook::kOutput}) {
    ModelChain chain{.name = std::string(Name(hook))};
    chain.base = BuiltinHook(table.name, chain.name);
    for (const EntryJump& jump : rules.jumps) {
      if (jump.hook == hook) chain.rules.push_back(ModelOf(jump.rule));
    }
    table.chains.push_back(std::move(chain));
  }
  for (const Chain& ours : rules.chains) {
    ModelChain chain{.name = ours.name, .ours = true};
    for (const Rule& rule : ours.rules) chain.rules.push_back(ModelOf(rule));
    table.chains.push_back(std::move(chain));
  }
  return table;
}

}  // namespace

std::string_view Name(HookPoint hook) {
  constexpr std::array<std::string_view, 5> kNames = {"PREROUTING", "INPUT", "FORWARD", "OUTPUT",
                                                      "POSTROUTING"};
  return kNames.at(static_cast<std::size_t>(hook));
}

const ModelChain* ModelTable::Find(std::string_view chain) const {
  const auto found = std::ranges::find(chains, chain, &ModelChain::name);
  return found == chains.end() ? nullptr : &*found;
}

std::optional<BaseHook> BuiltinHook(std::string_view table, std::string_view chain) {
  constexpr std::array<HookPoint, 5> kAll = {HookPoint::kPrerouting, HookPoint::kInput,
                                             HookPoint::kForward, HookPoint::kOutput,
                                             HookPoint::kPostrouting};
  const auto found =
      std::ranges::find(kAll, chain, [](HookPoint hook) { return explain::Name(hook); });
  if (found == kAll.end()) return {};
  BaseHook base{.hook = *found};
  const bool before = *found == HookPoint::kPrerouting || *found == HookPoint::kOutput;
  if (table == "raw") {
    base.priority = -300;
    if (!before) return {};
  } else if (table == "mangle") {
    base.priority = -150;
    // ipt_mangle_out() of iptable_mangle.c
    base.reroutes = *found == HookPoint::kOutput;
  } else if (table == "nat") {
    base.priority = before ? -100 : 100;
    base.nat = true;
    if (*found == HookPoint::kForward) return {};
  } else if (table == "filter" || table == "security") {
    base.priority = table == "filter" ? 0 : 50;
    if (*found == HookPoint::kPrerouting || *found == HookPoint::kPostrouting) return {};
  } else {
    return {};
  }
  return base;
}

ModelRule ModelOf(const Rule& rule) {
  ModelRule out;
  out.known = rule;
  out.text = ToText(rule);
  const auto address = [&out](bool source, const std::optional<Condition<Cidr>>& range) {
    if (range) out.tests.push_back(AddressTest{source, range->negated, {range->value}});
  };
  const auto interface = [&out](bool in, const std::optional<Condition<std::string>>& name) {
    if (name) out.tests.push_back(InterfaceTest{in, name->negated, name->value});
  };
  address(true, rule.source);
  address(false, rule.destination);
  if (rule.list) {
    out.tests.push_back(AddressTest{rule.list->of == RangeOf::kSource, false, rule.list->ranges});
  }
  interface(true, rule.in_interface);
  interface(false, rule.out_interface);
  if (rule.protocol) {
    out.tests.push_back(ProtocolTest{static_cast<std::uint8_t>(*rule.protocol)});
  }
  for (const Match& match : rule.matches) std::visit(TestsOf{out.tests}, match);
  out.action = std::visit(ActionOf{}, rule.target);
  return out;
}

Model ModelOf(const RuleSet& rules, std::string_view backend) {
  Model model;
  model.planned = true;
  for (const Family family : kFamilies) {
    for (const TableRules& table : rules.family(family).tables) {
      if (!table.empty()) model.tables.push_back(TableOf(table, family, backend));
    }
  }
  Finish(model);
  return model;
}

std::string_view LocalName(const ModelChain& chain) {
  const std::string_view name = chain.name;
  return chain.ours ? name.substr(name.find('/') + 1) : name;
}

std::string_view LocalTable(const ModelTable& table, const ModelChain& chain) {
  const auto slash = chain.name.find('/');
  if (!chain.ours || slash == chain.name.npos) return table.name;
  return std::string_view(chain.name).substr(0, slash);
}

void Finish(Model& model) {
  for (ModelTable& table : model.tables) {
    std::map<std::string_view, std::size_t> chains;
    for (std::size_t i = 0; i < table.chains.size(); ++i) chains.emplace(table.chains[i].name, i);
    const auto resolve = [&chains](Action& action, std::size_t& leads_to) {
      const auto* jump = std::get_if<Jump>(&action);
      const auto* go = std::get_if<Goto>(&action);
      if (jump == nullptr && go == nullptr) return;
      const std::string name = jump != nullptr ? jump->chain : go->chain;
      const auto found = chains.find(name);
      if (found == chains.end()) {
        action = UnknownAction{"the chain " + name};
      } else {
        leads_to = found->second;
      }
    };
    for (ModelChain& chain : table.chains) {
      for (ModelRule& rule : chain.rules) {
        resolve(rule.action, rule.leads_to);
        for (Op& op : rule.program) {
          if (auto* act = std::get_if<Act>(&op)) resolve(act->action, act->leads_to);
        }
      }
    }
    for (SetModel& set : table.sets) {
      for (SetItem& item : set.items) {
        if (item.verdict) resolve(item.verdict->action, item.verdict->leads_to);
      }
      if (set.otherwise && set.otherwise->verdict) {
        resolve(set.otherwise->verdict->action, set.otherwise->verdict->leads_to);
      }
    }
    NameCauses(table);
  }
}

}  // namespace sluice::capture::explain
