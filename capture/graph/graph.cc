// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/graph/graph.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

namespace sluice::capture::graph {
namespace {

using explain::Act;
using explain::BaseHook;
using explain::Lookup;
using explain::Model;
using explain::ModelChain;
using explain::ModelRule;
using explain::ModelTable;
using explain::SetItem;
using explain::SetModel;
using explain::UnreadChain;

constexpr std::size_t kMostName = 60;  // characters

void AddOnce(std::vector<std::size_t>& out, std::size_t chain) {
  if (chain != ModelRule::kNowhere && std::ranges::find(out, chain) == out.end()) {
    out.push_back(chain);
  }
}

// The chains that a rule may lead to, as indices into its table.
std::vector<std::size_t> TargetsOf(const ModelTable& table, const ModelRule& rule) {
  std::vector<std::size_t> out;
  AddOnce(out, rule.leads_to);
  for (const explain::Op& op : rule.program) {
    if (const auto* act = std::get_if<Act>(&op)) AddOnce(out, act->leads_to);
    const auto* lookup = std::get_if<Lookup>(&op);
    if (lookup == nullptr || !lookup->verdicts || lookup->set >= table.sets.size()) continue;
    const SetModel& set = table.sets[lookup->set];
    for (const SetItem& item : set.items) {
      if (item.verdict) AddOnce(out, item.verdict->leads_to);
    }
    if (set.otherwise && set.otherwise->verdict) AddOnce(out, set.otherwise->verdict->leads_to);
  }
  return out;
}

bool IsGoto(const ModelRule& rule) {
  if (std::holds_alternative<Goto>(rule.action)) return true;
  return std::ranges::any_of(rule.program, [](const explain::Op& op) {
    const auto* act = std::get_if<Act>(&op);
    return act != nullptr && std::holds_alternative<Goto>(act->action);
  });
}

// Removes the nf_tables word `word`, or the last occurrence of `phrase`.
void Erase(std::string& text, const std::string& phrase) {
  const auto at = (" " + text + " ").rfind(" " + phrase + " ");
  if (at == std::string::npos) return;
  text.erase(at, phrase.size() + (at + phrase.size() < text.size() ? 1 : 0));
  while (text.ends_with(' ')) text.pop_back();
}

// Without the rule's number, which is shown beside it.
std::string TextOf(const ModelTable& table, const ModelRule& rule) {
  std::string out = rule.text;
  if (table.backend == "nftables") Erase(out, "counter");
  return out.empty() ? "all" : out;
}

// The condition of a jump: its text without the jump.
std::string ConditionOf(const ModelTable& table, const ModelRule& rule,
                        const std::vector<std::size_t>& targets) {
  std::string out = TextOf(table, rule);
  for (const std::size_t target : targets) {
    for (const char* verb : {"-j ", "-g ", "jump ", "goto "}) {
      Erase(out, verb + table.chains[target].name);
    }
  }
  return out.empty() ? "all" : Visible(out);
}

std::string DetailOf(explain::HookPoint hook, int priority, bool drops) {
  return "hook " + std::string(Name(hook)) + ", priority " + std::to_string(priority) +
         (drops ? ", policy DROP" : "");
}

class Drawer {
 public:
  Drawer(const Model& model, Family family) : model_(model), panel_{.family = family} {}

  Panel Run() {
    FindBases();
    for (std::size_t i = 0; i < found_.size(); ++i) Follow(i);
    AddStrays();
    for (const Found& found : found_) Add(found);
    if (beyond_ > 0) {
      panel_.notes.push_back("and " + std::to_string(beyond_) +
                             " more chains, which are not shown");
    }
    if (unreached_ > 0) {
      panel_.notes.push_back("not shown: " + std::to_string(unreached_) +
                             (unreached_ == 1 ? " foreign chain" : " foreign chains") +
                             " that nothing leads to");
    }
    return std::move(panel_);
  }

 private:
  struct Found {
    const ModelTable* table = nullptr;  // nullptr: not read
    std::size_t chain = 0;
    const UnreadChain* unread = nullptr;
  };
  using Key = std::pair<const ModelTable*, std::size_t>;

  bool Note(const ModelTable& table, std::size_t chain) {
    if (node_of_.contains({&table, chain})) return true;
    if (found_.size() >= kMostChains) return false;
    node_of_.emplace(Key{&table, chain}, found_.size());
    found_.push_back({&table, chain});
    return true;
  }

  void FindBases() {
    struct Entry {
      explain::HookPoint hook;
      int priority;
      Found found;
    };
    std::vector<Entry> entries;
    for (const ModelTable& table : model_.tables) {
      if (table.family != panel_.family) continue;
      for (std::size_t i = 0; i < table.chains.size(); ++i) {
        const ModelChain& chain = table.chains[i];
        if (!chain.base || (chain.rules.empty() && !chain.base->policy_drops)) continue;
        entries.push_back({chain.base->hook, chain.base->priority, {&table, i}});
      }
    }
    for (const UnreadChain& unread : model_.unread) {
      if (unread.family != panel_.family) continue;
      entries.push_back({unread.hook, unread.priority, {.unread = &unread}});
    }
    std::ranges::stable_sort(
        entries, {}, [](const Entry& entry) { return std::tuple(entry.hook, entry.priority); });
    for (const Entry& entry : entries) {
      if (entry.found.table != nullptr) {
        if (!Note(*entry.found.table, entry.found.chain)) ++beyond_;
      } else if (found_.size() < kMostChains) {
        found_.push_back(entry.found);
      } else {
        ++beyond_;
      }
    }
  }

  void Follow(std::size_t index) {
    const Found found = found_[index];
    if (found.table == nullptr) return;
    for (const ModelRule& rule : found.table->chains[found.chain].rules) {
      for (const std::size_t target : TargetsOf(*found.table, rule)) {
        if (!Note(*found.table, target)) left_out_.insert({found.table, target});
      }
    }
  }

  // Chains that nothing leads to: Sluice's own are shown, since that is worth knowing.
  void AddStrays() {
    beyond_ += left_out_.size();
    std::set<Key> led_to;  // from chains that are left out or not followed
    for (const ModelTable& table : model_.tables) {
      if (table.family != panel_.family) continue;
      for (const ModelChain& chain : table.chains) {
        for (const ModelRule& rule : chain.rules) {
          for (const std::size_t target : TargetsOf(table, rule)) led_to.insert({&table, target});
        }
      }
      for (std::size_t i = 0; i < table.chains.size(); ++i) {
        const ModelChain& chain = table.chains[i];
        const Key key{&table, i};
        if (chain.base || node_of_.contains(key) || left_out_.contains(key)) continue;
        if (chain.ours) {
          if (!Note(table, i)) ++beyond_;
        } else {
          ++(left_out_.empty() || !led_to.contains(key) ? unreached_ : beyond_);
        }
      }
    }
  }

  void AddNode(Line& line, const ModelTable& table, std::size_t chain) const {
    const auto found = node_of_.find({&table, chain});
    if (found != node_of_.end()) AddOnce(line.leads_to, found->second);
  }

  void Add(const Found& found) {
    if (found.unread != nullptr) {
      Node node{.title = Visible(found.unread->table + " " + found.unread->chain, kMostName),
                .detail = DetailOf(found.unread->hook, found.unread->priority, false),
                .base = true};
      if (!found.unread->device.empty()) {
        node.detail = "ingress of " + Visible(found.unread->device, kMostName);
      }
      node.lines.push_back({.text = "rules that could not be read"});
      panel_.nodes.push_back(std::move(node));
      return;
    }
    const ModelTable& table = *found.table;
    const ModelChain& chain = table.chains[found.chain];
    Node node{.title = Visible(table.name + " " + chain.name, kMostName), .base = bool(chain.base)};
    if (chain.base) {
      node.detail = DetailOf(chain.base->hook, chain.base->priority, chain.base->policy_drops);
      if (table.backend == "nftables") node.detail += ", nf_tables";
    }
    const auto is_ours = [&](const ModelRule& rule) {
      const auto targets = TargetsOf(table, rule);
      return chain.ours || std::ranges::any_of(targets, [&](std::size_t target) {
               return table.chains[target].ours;
             });
    };
    if (chain.ours) {
      node.kind = Node::Kind::kOurs;
    } else if (chain.base && std::ranges::any_of(chain.rules, is_ours)) {
      node.kind = Node::Kind::kBase;
    }
    // Where the rules beyond the limit lead.
    Line rest;
    for (std::size_t i = 0; i < chain.rules.size(); ++i) {
      const ModelRule& rule = chain.rules[i];
      if (i >= kMostLines) {
        for (const std::size_t target : TargetsOf(table, rule)) AddNode(rest, table, target);
        continue;
      }
      Line line{.rule = i + 1, .text = Visible(TextOf(table, rule))};
      if (!model_.planned && rule.counted) line.packets = rule.packets;
      line.foreign = node.kind == Node::Kind::kBase && !is_ours(rule);
      line.leaves = IsGoto(rule);
      const auto targets = TargetsOf(table, rule);
      for (const std::size_t target : targets) AddNode(line, table, target);
      if (!targets.empty()) line.condition = ConditionOf(table, rule, targets);
      node.lines.push_back(std::move(line));
    }
    if (chain.rules.size() > kMostLines) {
      rest.text = "... and " + std::to_string(chain.rules.size() - kMostLines) + " more";
      rest.condition = rest.text;
      node.lines.push_back(std::move(rest));
    }
    panel_.nodes.push_back(std::move(node));
  }

  const Model& model_;
  Panel panel_;
  std::vector<Found> found_;
  std::map<Key, std::size_t> node_of_;
  std::set<Key> left_out_;
  std::size_t beyond_ = 0;
  std::size_t unreached_ = 0;
};

}  // namespace

Graph Draw(const Model& model) {
  Graph out;
  for (const Family family : kFamilies) {
    Panel panel = Drawer(model, family).Run();
    if (!panel.nodes.empty() || !panel.notes.empty()) out.panels.push_back(std::move(panel));
  }
  for (const std::string& note : model.notes) out.notes.push_back(Visible(note, 2 * kMostText));
  return out;
}

}  // namespace sluice::capture::graph
