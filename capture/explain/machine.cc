// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/explain/machine.h"

#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <utility>

namespace sluice::capture::explain {
namespace {

// Whether `key` is in `item`. `fields` are the sizes of a concatenated key's parts, each of which
// is padded to four bytes; empty if the key is one value.
Meets Meet(const Bits& key, const SetItem& item, const std::vector<std::uint8_t>& fields) {
  if (item.first.size() != key.value.size() || item.last.size() != key.value.size()) {
    return Meets::kUnknown;
  }
  if (item.first == item.last) return Equal(key, item.first);
  if (fields.empty()) return Between(key, item.first, item.last);
  Meets all = Meets::kYes;
  std::size_t at = 0;
  for (const std::uint8_t size : fields) {
    const auto of = [&](const ByteString& bytes) {
      const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(std::min(at, bytes.size()));
      const auto end =
          bytes.begin() + static_cast<std::ptrdiff_t>(std::min(at + size, bytes.size()));
      return ByteString(begin, end);
    };
    const Meets one = Between(Part(key, at, size), of(item.first), of(item.last));
    if (one == Meets::kNo) return one;
    if (one == Meets::kUnknown) all = one;
    at += (static_cast<std::size_t>(size) + 3) & ~std::size_t{3};
  }
  return all;
}

}  // namespace

Bits Machine::Get(const Slot& slot) const {
  Bits out;
  for (std::size_t i = slot.at; i < std::min<std::size_t>(slot.at + slot.size, kRegisterBytes);
       ++i) {
    out.value.push_back(value_[i]);
    out.known.push_back(known_[i]);
  }
  return out;
}

// Pads the last word with zeros, as nft_reg_store8() and the like do.
void Machine::Put(const Slot& slot, const Bits& bits) {
  const std::size_t words = (static_cast<std::size_t>(slot.size) + 3) & ~std::size_t{3};
  for (std::size_t i = 0; i < words && slot.at + i < kRegisterBytes; ++i) {
    const bool there = i < bits.value.size();
    value_[slot.at + i] = there ? bits.value[i] : std::uint8_t{0};
    known_[slot.at + i] = there ? bits.known[i] : std::uint8_t{0xff};
  }
}

Meets Machine::Run(const Op& op) {
  if (const auto* load = std::get_if<Load>(&op)) return Do(*load);
  if (const auto* mask = std::get_if<MaskBits>(&op)) return Do(*mask);
  if (const auto* swap = std::get_if<SwapBytes>(&op)) return Do(*swap);
  if (const auto* compare = std::get_if<Compare>(&op)) return Do(*compare);
  if (const auto* within = std::get_if<Within>(&op)) return Do(*within);
  if (const auto* lookup = std::get_if<Lookup>(&op)) return Do(*lookup);
  if (const auto* check = std::get_if<Check>(&op)) {
    return MeetsAll(ModelRule{.tests = {check->test}}, packet_, host_);
  }
  return Meets::kYes;
}

Meets Machine::Do(const MaskBits& op) {
  Bits bits = Get(op.from);
  for (std::size_t i = 0; i < bits.value.size(); ++i) {
    const std::uint8_t mask = i < op.mask.size() ? op.mask[i] : std::uint8_t{0};
    const std::uint8_t flip = i < op.bits.size() ? op.bits[i] : std::uint8_t{0};
    bits.value[i] = static_cast<std::uint8_t>((bits.value[i] & mask) ^ flip);
    bits.known[i] = static_cast<std::uint8_t>(bits.known[i] | (~mask & 0xff));
  }
  Put(op.to, bits);
  return Meets::kYes;
}

Meets Machine::Do(const SwapBytes& op) {
  Bits bits = Get(op.from);
  for (std::size_t i = 0; i + op.unit <= bits.value.size() && op.unit > 0; i += op.unit) {
    const auto at = static_cast<std::ptrdiff_t>(i);
    std::reverse(bits.value.begin() + at, bits.value.begin() + at + op.unit);
    std::reverse(bits.known.begin() + at, bits.known.begin() + at + op.unit);
  }
  Put(op.to, bits);
  return Meets::kYes;
}

Meets Machine::Do(const Compare& op) const {
  const Bits bits = Get({op.from.at, static_cast<std::uint8_t>(op.value.size())});
  const ByteString least = Least(bits), greatest = Greatest(bits);
  const ByteString& value = op.value;
  switch (op.operation) {
    case NFT_CMP_EQ:
    case NFT_CMP_NEQ:
      return Turned(Equal(bits, value), op.operation == NFT_CMP_NEQ);
    case NFT_CMP_LT:
    case NFT_CMP_GTE: {
      const Meets less = greatest < value ? Meets::kYes
                         : least < value  ? Meets::kUnknown
                                          : Meets::kNo;
      return Turned(less, op.operation == NFT_CMP_GTE);
    }
    case NFT_CMP_LTE:
    case NFT_CMP_GT: {
      const Meets most = greatest <= value ? Meets::kYes
                         : least <= value  ? Meets::kUnknown
                                           : Meets::kNo;
      return Turned(most, op.operation == NFT_CMP_GT);
    }
    default:
      return Meets::kUnknown;
  }
}

Meets Machine::Do(const Within& op) const {
  const Bits bits = Get({op.from.at, static_cast<std::uint8_t>(op.first.size())});
  return Turned(Between(bits, op.first, op.last), op.negated);
}

Found Machine::Find(const Lookup& lookup) const {
  Found out;
  if (lookup.set >= table_.sets.size()) return out;
  const SetModel& set = table_.sets[lookup.set];
  const Bits key = Get(lookup.from);
  if (set.fields.empty() && key.whole()) {
    // The last item that begins at or before the key.
    auto behind = std::ranges::upper_bound(set.items, key.value, {}, &SetItem::first);
    if (behind != set.items.begin() && Meet(key, *--behind, set.fields) == Meets::kYes) {
      out.possible.push_back(&*behind);
      out.surely = !set.unknown;
      return out;
    }
  } else {
    for (const SetItem& item : set.items) {
      const Meets meets = Meet(key, item, set.fields);
      if (meets == Meets::kNo) continue;
      out.possible.push_back(&item);
      if (meets == Meets::kYes && out.possible.size() == 1) {
        out.surely = !set.unknown;
        return out;
      }
    }
  }
  if (set.otherwise) {
    out.surely = out.possible.empty() && !set.unknown;
    out.possible.push_back(&*set.otherwise);
  }
  return out;
}

Meets Machine::Do(const Lookup& op) {
  const Found found = Find(op);
  const bool unknown = op.set >= table_.sets.size() || table_.sets[op.set].unknown;
  Meets meets = found.surely ? Meets::kYes : Meets::kUnknown;
  if (found.possible.empty() && !unknown) meets = Meets::kNo;
  // Any key matches the element "*".
  if (op.to) {
    if (found.surely) {
      Put(*op.to, Whole(found.possible.front()->data));
    } else {
      Put(*op.to, UnknownBytes(op.to->size));
    }
  }
  return Turned(meets, op.negated);
}

}  // namespace sluice::capture::explain
