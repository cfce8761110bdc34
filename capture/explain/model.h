// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip_address.h"
#include "capture/explain/condition.h"
#include "capture/explain/program.h"
#include "capture/rule.h"

// Netfilter as a packet meets it, no matter who wrote the rules: base chains by hook and priority,
// with all chains that they lead to. A backend's reader fills it. Whatever Sluice does not know is
// kept as unknown, never left out.
namespace sluice::capture::explain {

// linux/netfilter.h: NF_INET_PRE_ROUTING and so on.
enum class HookPoint : std::uint8_t { kPrerouting, kInput, kForward, kOutput, kPostrouting };
std::string_view Name(HookPoint hook);

struct ModelRule {
  std::vector<Test> tests = {};
  Action action = GoOn{};
  // For an nf_tables rule, instead of conditions and action.
  Program program = {};
  std::string text = {};      // as the backend's own tool writes it
  std::uint64_t packets = 0;  // its counter
  std::uint64_t bytes = 0;
  bool counted = false;             // whether it has one; planned rules do not have one yet
  std::optional<Rule> known = {};   // as Sluice would have written it
  std::string flag = {};            // of a Sluice rule: "--proxy-uid=1337"; empty if none
  std::string why = {};             // of a Sluice rule, for the user
  std::uint64_t handle = 0;         // nf_tables' number of the rule in its table; 0 if none
  std::size_t leads_to = kNowhere;  // target of a jump or goto: index of a chain in the table

  static constexpr std::size_t kNowhere = static_cast<std::size_t>(-1);
};

struct BaseHook {
  HookPoint hook = HookPoint::kPrerouting;
  int priority = 0;
  bool nat = false;           // sees only a connection's first packet
  bool policy_drops = false;  // at the end of the chain
  // A changed mark makes the kernel route the packet again.
  bool reroutes = false;
};

struct ModelChain {
  std::string name;
  std::vector<ModelRule> rules = {};
  std::optional<BaseHook> base = {};
  bool ours = false;
};

struct ModelTable {
  std::string backend;  // "iptables"
  Family family = Family::kIpv4;
  std::string name;
  std::vector<ModelChain> chains = {};
  std::vector<SetModel> sets = {};
  std::string kind = {};  // of nf_tables: "ip", "ip6" or "inet"

  const ModelChain* Find(std::string_view chain) const;
};

// The name of a chain without the prefix it has in Sluice's nf_tables table ("nat/ISTIO_OUTPUT"),
// and its x_tables table.
std::string_view LocalName(const ModelChain& chain);
std::string_view LocalTable(const ModelTable& table, const ModelChain& chain);

// An existing base chain whose rules could not be read.
struct UnreadChain {
  std::string backend;
  Family family = Family::kIpv4;
  std::string table;
  std::string chain;
  HookPoint hook = HookPoint::kPrerouting;
  int priority = 0;
  std::string device = {};  // only packets from this device pass it; empty: all
};

struct Model {
  std::vector<ModelTable> tables;
  std::vector<UnreadChain> unread;
  // What could not be read, as text.
  std::vector<std::string> notes;
  // Whether TPROXY's marks have their route.
  bool planned = false;
};

// The priorities of the x_tables tables (linux/netfilter_ipv4.h, NF_IP_PRI_*) and the built-in
// chains of each: "raw", "mangle", "nat", "filter", "security". Nothing for other names.
std::optional<BaseHook> BuiltinHook(std::string_view table, std::string_view chain);

// A Sluice rule in the form of the model.
ModelRule ModelOf(const Rule& rule);

// What would be installed. `rules` must be compiled (Backend::Compile).
Model ModelOf(const RuleSet& rules, std::string_view backend);

// Call when all tables are there: resolves jumps, and fills `flag` and `why` of Sluice
// rules.
void Finish(Model& model);

}  // namespace sluice::capture::explain
