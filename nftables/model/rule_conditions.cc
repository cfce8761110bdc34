// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <array>
#include <bit>

#include "nftables/model/rule_decoder.h"

namespace sluice::nftables {

namespace ex = capture::explain;
using ex::ByteString;
using ex::Slot;

bool RuleDecoder::Compare(Bytes data) {
  const auto value = ValueOf(data, NFTA_CMP_DATA);
  const auto operation = NumberOf(data, NFTA_CMP_OP);
  if (!value || !operation || *operation > NFT_CMP_GTE) return false;
  const auto from = SlotOf(NumberOf(data, NFTA_CMP_SREG), value->size());
  if (!from) return false;
  Add(ex::Compare{*from, static_cast<std::uint8_t>(*operation), *value});
  Held held = At(*from);
  const bool zero = std::ranges::all_of(*value, [](std::uint8_t byte) { return byte == 0; });
  if (held.as == Shown::kState && !held.mask.empty() && zero && *operation <= NFT_CMP_NEQ) {
    Say(held.words + (*operation == NFT_CMP_NEQ ? " " : " ! ") +
        nftables::ToText(held.mask, Shown::kState));
    return true;
  }
  std::string words = held.words;
  std::string shown = nftables::ToText(*value, held.as);
  if (held.as == Shown::kAddress) {
    int length = static_cast<int>(value->size() * 8);
    const bool whole = *value == Padded(*value) && held.mask.empty();
    if (!held.mask.empty()) {
      length = 0;
      for (const std::uint8_t byte : held.mask) length += std::popcount(byte);
    }
    if (!whole || !held.mask.empty()) shown += "/" + std::to_string(length);
  } else if (!held.mask.empty()) {
    words += " & " + nftables::ToText(held.mask, held.as);
    if (*operation == NFT_CMP_EQ) words += " ==";
  }
  Say(words + " " + Operator(*operation) + shown);
  return true;
}

bool RuleDecoder::Range(Bytes data) {
  const auto first = ValueOf(data, NFTA_RANGE_FROM_DATA);
  const auto last = ValueOf(data, NFTA_RANGE_TO_DATA);
  const auto operation = NumberOf(data, NFTA_RANGE_OP);
  if (!first || !last || first->size() != last->size() || !operation || *operation > 1) {
    return false;
  }
  const auto from = SlotOf(NumberOf(data, NFTA_RANGE_SREG), first->size());
  if (!from) return false;
  const bool negated = *operation == NFT_RANGE_NEQ;
  Add(ex::Within{*from, negated, *first, *last});
  const Held& held = At(*from);
  Say(held.words + (negated ? " != " : " ") + nftables::ToText(*first, held.as) + "-" +
      nftables::ToText(*last, held.as));
  return true;
}

bool RuleDecoder::Lookup(Bytes data) {
  std::string name = TextOf(data, NFTA_LOOKUP_SET);
  if (const auto id = NumberOf(data, NFTA_LOOKUP_SET_ID)) name += "#" + std::to_string(*id);
  const auto set = sets_.find(name);
  if (set == sets_.end()) return false;
  const ex::SetModel& model = models_[set->second];
  const auto from = SlotOf(NumberOf(data, NFTA_LOOKUP_SREG), model.key_bytes);
  if (!from) return false;
  ex::Lookup lookup{.set = set->second, .from = *from};
  lookup.negated = (NumberOf(data, NFTA_LOOKUP_FLAGS).value_or(0) & NFT_LOOKUP_F_INV) != 0;
  std::string words;
  for (std::size_t at = from->at / 4U; at < (from->at + from->size + 3U) / 4U; ++at) {
    if (held_[at].words.empty()) continue;
    words += (words.empty() ? "" : " . ") + held_[at].words;
  }
  words += lookup.negated ? " != " : " ";
  if (const auto number = NumberOf(data, NFTA_LOOKUP_DREG)) {
    if (*number == NFT_REG_VERDICT) {
      lookup.verdicts = true;
      words += "vmap ";
    } else {
      const auto to = SlotOf(number, model.data_bytes);
      if (!to) return false;
      lookup.to = to;
      words += "map ";
    }
  }
  words += SetText(name, model, At(*from).as);
  if (lookup.to) {
    Forget(*lookup.to);
    At(*lookup.to) = {words};
  } else {
    Say(words);
  }
  Add(std::move(lookup));
  return true;
}

ByteString RuleDecoder::Padded(ByteString value) const {
  value.resize(family_ == Family::kIpv4 ? 4 : 16);
  return value;
}

std::string RuleDecoder::Operator(std::uint32_t operation) {
  constexpr std::array<const char*, 6> kNames = {"", "!= ", "< ", "<= ", "> ", ">= "};
  return kNames.at(operation);
}

std::string RuleDecoder::SetText(const std::string& name, const ex::SetModel& set, Shown as) {
  if (!name.starts_with("__")) return "@" + name;
  constexpr std::size_t kMost = 8;
  std::string out = "{";
  for (std::size_t i = 0; i < std::min(set.items.size(), kMost); ++i) {
    const ex::SetItem& item = set.items[i];
    out += (i == 0 ? " " : ", ") + nftables::ToText(item.first, as);
    if (item.last != item.first) out += "-" + nftables::ToText(item.last, as);
  }
  return out + (set.items.size() > kMost ? ", ... }" : " }");
}

}  // namespace sluice::nftables
