// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nftables/message.h"
#include "nftables/state.h"

// All that nf_tables holds in a namespace, everybody's, with rules and elements as the kernel's own
// attributes. Pure; takes any bytes.
namespace sluice::nftables {

struct RawRule {
  std::vector<std::uint8_t> expressions;  // the content of NFTA_RULE_EXPRESSIONS
  std::string comment = {};
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
  bool has_expressions = false;  // of its elements, which may end a rule
  std::vector<std::uint8_t> fields = {};
  // The contents of NFTA_SET_ELEM_LIST_ELEMENTS, one behind the other.
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

// What one message of a dump says, by its attributes. What belongs to nothing that is there is left
// out.
void AddTable(Ruleset& to, std::uint8_t family, Bytes attributes);
void AddChain(Ruleset& to, std::uint8_t family, Bytes attributes);
void AddSet(Ruleset& to, std::uint8_t family, Bytes attributes);
void AddElements(Ruleset& to, std::uint8_t family, Bytes attributes);
void AddRule(Ruleset& to, std::uint8_t family, Bytes attributes);

// What `rules`, compiled, would be in the kernel.
Ruleset ToRuleset(const capture::RuleSet& rules);

}  // namespace sluice::nftables
