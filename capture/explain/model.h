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

// Netfilter as a packet meets it, whoever wrote the rules: base chains by hook and priority, with
// all chains that they lead to. A backend's reader fills it. What Sluice does not know stays in it
// as unknown, and is never left out.
namespace sluice::capture::explain {

// linux/netfilter.h: NF_INET_PRE_ROUTING and so on.
enum class HookPoint : std::uint8_t { kPrerouting, kInput, kForward, kOutput, kPostrouting };
std::string_view Name(HookPoint hook);

struct ModelRule {
  std::vector<Test> tests = {};
  Action action = GoOn{};
  // Of a rule of nf_tables, instead of both.
  Program program = {};
  std::string text = {};            // as the backend's own tool writes it
  std::uint64_t packets = 0;        // its counter
  bool counted = false;             // whether it has one; planned rules have none yet
  std::optional<Rule> known = {};   // as Sluice would have written it
  std::string flag = {};            // of a Sluice rule: "--proxy-uid=1337"; empty: none
  std::string why = {};             // of a Sluice rule, for people
  std::size_t leads_to = kNowhere;  // the chain of a jump or goto, an index into the table

  static constexpr std::size_t kNowhere = static_cast<std::size_t>(-1);
};

struct BaseHook {
  HookPoint hook = HookPoint::kPrerouting;
  int priority = 0;
  bool nat = false;           // sees the first packet of a connection only
  bool policy_drops = false;  // at the end of the chain
  // A changed mark makes the kernel look for the route again.
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

  const ModelChain* Find(std::string_view chain) const;
};

// The name of a chain without what nf_tables' table of ours has before it ("nat/ISTIO_OUTPUT"), and
// the table of x_tables that it would be in.
std::string_view LocalName(const ModelChain& chain);
std::string_view LocalTable(const ModelTable& table, const ModelChain& chain);

// A base chain that is there, and whose rules could not be read.
struct UnreadChain {
  std::string backend;
  Family family = Family::kIpv4;
  std::string table;
  std::string chain;
  HookPoint hook = HookPoint::kPrerouting;
  int priority = 0;
  std::string device = {};  // only what comes by this one passes it; empty: everything
};

struct Model {
  std::vector<ModelTable> tables;
  std::vector<UnreadChain> unread;
  // What could not be looked at, in words.
  std::vector<std::string> notes;
  // Whether TPROXY's marks have the route that they need.
  bool planned = false;
};

// The priorities of x_tables' tables (linux/netfilter_ipv4.h, NF_IP_PRI_*), and which built-in
// chains each has: "raw", "mangle", "nat", "filter", "security". Nothing for other names.
std::optional<BaseHook> BuiltinHook(std::string_view table, std::string_view chain);

// A Sluice rule as the model holds it.
ModelRule ModelOf(const Rule& rule);

// What would be installed. `rules` are as the backend holds them (Backend::Compile).
Model ModelOf(const RuleSet& rules, std::string_view backend);

// To be called when all tables are there: finds what jumps lead to, and fills `flag` and `why` of
// our rules.
void Finish(Model& model);

}  // namespace sluice::capture::explain
