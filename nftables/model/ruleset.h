// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nftables/message.h"
#include "nftables/state.h"

// The whole nf_tables rule set of a namespace, with rules and elements as the kernel's own
// attributes. Pure; accepts any bytes.
namespace sluice::nftables {

struct RawRule {
  std::vector<std::uint8_t> expressions;  // the content of NFTA_RULE_EXPRESSIONS
  std::string comment = {};
  std::uint64_t handle = 0;
};
struct RawChain {
  std::string name;
  std::optional<Base> base = {};
  std::vector<std::string> devices = {};  // of an ingress hook
  std::vector<RawRule> rules = {};
};
struct RawSet {
  std::string name;
  std::uint32_t flags = 0;
  std::uint32_t key_bytes = 0;
  std::uint32_t data_bytes = 0;  // of a map
  bool has_expressions = false;  // of its elements; may end a rule
  std::vector<std::uint8_t> fields = {};
  // The contents of NFTA_SET_ELEM_LIST_ELEMENTS, concatenated.
  std::vector<std::uint8_t> elements = {};
};
struct RawTable {
  std::uint8_t family = 0;  // NFPROTO_IPV4, ...
  std::string name;
  bool dormant = false;
  std::vector<RawChain> chains = {};
  std::vector<RawSet> sets = {};
};
struct Ruleset {
  std::vector<RawTable> tables;

  RawTable* Find(std::uint8_t family, std::string_view name);
};

// Add what one dump message describes. Objects whose table or chain is missing are left
// out.
void AddTable(Ruleset& to, std::uint8_t family, Bytes attributes);
void AddChain(Ruleset& to, std::uint8_t family, Bytes attributes);
void AddSet(Ruleset& to, std::uint8_t family, Bytes attributes);
void AddElements(Ruleset& to, std::uint8_t family, Bytes attributes);
void AddRule(Ruleset& to, std::uint8_t family, Bytes attributes);

// The kernel's form of `rules`, which must be compiled.
Ruleset ToRuleset(const capture::RuleSet& rules);

}  // namespace sluice::nftables
