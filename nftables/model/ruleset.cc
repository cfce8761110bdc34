// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "nftables/model/ruleset.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <algorithm>

#include "nftables/codec.h"
#include "nftables/comment.h"
#include "nftables/intervals.h"

namespace sluice::nftables {
namespace {

// 0 if it is absent.
std::uint32_t OrZero(Bytes attributes, std::uint16_t type) {
  return NumberOf(attributes, type).value_or(0);
}

std::vector<std::uint8_t> Content(const std::string& bytes, std::size_t skip) {
  return {bytes.begin() + static_cast<std::ptrdiff_t>(skip), bytes.end()};
}

}  // namespace

RawTable* Ruleset::Find(std::uint8_t family, std::string_view name) {
  const auto found = std::ranges::find_if(
      tables, [&](const RawTable& table) { return table.family == family && table.name == name; });
  return found == tables.end() ? nullptr : &*found;
}

void AddTable(Ruleset& to, std::uint8_t family, Bytes attributes) {
  to.tables.push_back(
      {.family = family,
       .name = TextOf(attributes, NFTA_TABLE_NAME),
       .dormant = (OrZero(attributes, NFTA_TABLE_FLAGS) & NFT_TABLE_F_DORMANT) != 0});
}

void AddChain(Ruleset& to, std::uint8_t family, Bytes attributes) {
  RawTable* const table = to.Find(family, TextOf(attributes, NFTA_CHAIN_TABLE));
  if (table == nullptr) return;
  RawChain chain{.name = TextOf(attributes, NFTA_CHAIN_NAME)};
  if (const auto hook = FindAttribute(attributes, NFTA_CHAIN_HOOK)) {
    Base base{.type = TextOf(attributes, NFTA_CHAIN_TYPE),
              .hook = OrZero(hook->value, NFTA_HOOK_HOOKNUM),
              .priority = static_cast<std::int32_t>(OrZero(hook->value, NFTA_HOOK_PRIORITY)),
              .policy = OrZero(attributes, NFTA_CHAIN_POLICY)};
    if (const std::string device = TextOf(hook->value, NFTA_HOOK_DEV); !device.empty()) {
      chain.devices.push_back(device);
    }
    if (const auto devices = FindAttribute(hook->value, NFTA_HOOK_DEVS)) {
      ForEachAttribute(devices->value, [&chain](const Attribute& device) {
        chain.devices.emplace_back(device.Text());
      });
    }
    chain.base = std::move(base);
  }
  table->chains.push_back(std::move(chain));
}

void AddSet(Ruleset& to, std::uint8_t family, Bytes attributes) {
  RawTable* const table = to.Find(family, TextOf(attributes, NFTA_SET_TABLE));
  if (table == nullptr) return;
  RawSet set{.name = TextOf(attributes, NFTA_SET_NAME),
             .flags = OrZero(attributes, NFTA_SET_FLAGS),
             .key_bytes = OrZero(attributes, NFTA_SET_KEY_LEN),
             .data_bytes = OrZero(attributes, NFTA_SET_DATA_LEN)};
  set.has_expressions = FindAttribute(attributes, NFTA_SET_EXPR).has_value() ||
                        FindAttribute(attributes, NFTA_SET_EXPRESSIONS).has_value();
  const auto description = FindAttribute(attributes, NFTA_SET_DESC);
  const auto concat = description ? FindAttribute(description->value, NFTA_SET_DESC_CONCAT)
                                  : std::optional<Attribute>();
  if (concat) {
    ForEachAttribute(concat->value, [&set](const Attribute& field) {
      // In bytes, although the kernel's header says bits.
      set.fields.push_back(
          static_cast<std::uint8_t>(std::min(OrZero(field.value, NFTA_SET_FIELD_LEN), 64U)));
    });
  }
  table->sets.push_back(std::move(set));
}

void AddElements(Ruleset& to, std::uint8_t family, Bytes attributes) {
  RawTable* const table = to.Find(family, TextOf(attributes, NFTA_SET_ELEM_LIST_TABLE));
  if (table == nullptr) return;
  const auto set =
      std::ranges::find(table->sets, TextOf(attributes, NFTA_SET_ELEM_LIST_SET), &RawSet::name);
  const auto nest = FindAttribute(attributes, NFTA_SET_ELEM_LIST_ELEMENTS);
  if (set == table->sets.end() || !nest) return;
  set->elements.insert(set->elements.end(), nest->value.begin(), nest->value.end());
  // Attributes are aligned: the next message's elements begin at a multiple of four.
  set->elements.resize((set->elements.size() + 3) & ~std::size_t{3});
}

void AddRule(Ruleset& to, std::uint8_t family, Bytes attributes) {
  RawTable* const table = to.Find(family, TextOf(attributes, NFTA_RULE_TABLE));
  if (table == nullptr) return;
  const auto chain =
      std::ranges::find(table->chains, TextOf(attributes, NFTA_RULE_CHAIN), &RawChain::name);
  if (chain == table->chains.end()) return;
  RawRule rule;
  if (const auto handle = FindAttribute(attributes, NFTA_RULE_HANDLE)) {
    rule.handle = handle->Big64().value_or(0);
  }
  if (const auto nest = FindAttribute(attributes, NFTA_RULE_EXPRESSIONS)) {
    rule.expressions.assign(nest->value.begin(), nest->value.end());
  }
  if (const auto data = FindAttribute(attributes, NFTA_RULE_USERDATA)) {
    rule.comment = DecodeComment(data->value);
  }
  chain->rules.push_back(std::move(rule));
}

Ruleset ToRuleset(const capture::RuleSet& rules) {
  Ruleset out;
  for (const Family family : capture::kFamilies) {
    FamilyState state = ToState(rules.family(family));
    if (!state.exists) continue;
    AddComments(rules.family(family), state);
    const bool v4 = family == Family::kIpv4;
    RawTable table{.family = static_cast<std::uint8_t>(v4 ? NFPROTO_IPV4 : NFPROTO_IPV6),
                   .name = std::string(kTableName)};
    for (const ChainState& from : state.chains) {
      RawChain chain{.name = from.name, .base = from.base};
      for (const RuleState& rule : from.rules) {
        const auto set_of = [&](const InSet& set) {
          RawSet raw{.name = {}, .flags = NFT_SET_INTERVAL, .key_bytes = v4 ? 4U : 16U};
          MessageWriter elements;
          for (const Element& element : ToElements(set.ranges)) EncodeElement(element, elements);
          raw.elements = Content(elements.bytes(), 0);
          const auto id = static_cast<std::uint32_t>(table.sets.size() + 1);
          raw.name = std::string(kAnonymousSet) + "#" + std::to_string(id);
          table.sets.push_back(std::move(raw));
          return SetReference{.name = kAnonymousSet, .id = id};
        };
        MessageWriter writer;
        EncodeProgram(rule.program, family, rule.counters, set_of, writer);
        // Without the attribute's header.
        chain.rules.push_back({.expressions = Content(writer.bytes(), 4), .comment = rule.comment});
      }
      table.chains.push_back(std::move(chain));
    }
    out.tables.push_back(std::move(table));
  }
  return out;
}

}  // namespace sluice::nftables
