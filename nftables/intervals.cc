// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "nftables/intervals.h"

#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

namespace sluice::nftables {
namespace {

// The address after the last one of `range`; nothing if that is the last address there is.
std::optional<IpAddress> Behind(const Cidr& range) {
  std::array<std::uint8_t, 16> bytes{};
  const auto first = range.address().bytes();
  std::ranges::copy(first, bytes.begin());
  if (range.prefix_length() == 0) return {};
  int bit = range.prefix_length() - 1;
  // Adds one to the prefix, with its carry.
  for (; bit >= 0; --bit) {
    auto& byte = bytes[static_cast<std::size_t>(bit / 8)];
    const auto flag = static_cast<std::uint8_t>(0x80U >> static_cast<unsigned>(bit % 8));
    byte = static_cast<std::uint8_t>(byte ^ flag);
    if ((byte & flag) != 0) break;
  }
  if (bit < 0) return {};
  return IpAddress::FromBytes(std::span(bytes).first(first.size()));
}

// Appends the fewest ranges from `first` up to `end`, or to the last address.
void AppendRanges(IpAddress first, const std::optional<IpAddress>& end, std::vector<Cidr>& out) {
  const int bits = AddressBits(first.family());
  while (!end || first < *end) {
    int length = bits;
    while (length > 0) {
      const Cidr wider(first, length - 1);
      if (wider.address() != first) break;
      const auto behind = Behind(wider);
      if (end && (!behind || *behind > *end)) break;
      --length;
    }
    const Cidr range(first, length);
    out.push_back(range);
    const auto next = Behind(range);
    if (!next) return;
    first = *next;
  }
}

}  // namespace

std::vector<Element> ToElements(const std::vector<Cidr>& ranges) {
  std::vector<Element> out;
  out.reserve(2 * ranges.size());
  for (const Cidr& range : ranges) {
    if (!out.empty() && out.back().is_end && out.back().address == range.address()) {
      out.pop_back();  // a neighbour
    } else {
      out.push_back({range.address(), false});
    }
    if (const auto behind = Behind(range)) out.push_back({*behind, true});
  }
  return out;
}

std::vector<Cidr> ToRanges(std::vector<Element> elements, Family family) {
  // At the same address, ends come before beginnings: an end is the first address outside.
  std::ranges::sort(elements, [](const Element& a, const Element& b) {
    return a.address != b.address ? a.address < b.address : a.is_end && !b.is_end;
  });
  std::vector<Cidr> out;
  std::optional<IpAddress> first;
  for (const Element& element : elements) {
    if (element.address.family() != family) continue;
    if (!element.is_end) {
      if (!first) first = element.address;
    } else if (first) {
      AppendRanges(*first, element.address, out);
      first.reset();
    }
  }
  if (first) AppendRanges(*first, {}, out);
  return Aggregate(std::move(out));
}

void EncodeElement(const Element& element, MessageWriter& out) {
  const std::size_t nest = out.Open(NFTA_LIST_ELEM);
  const std::size_t key = out.Open(NFTA_SET_ELEM_KEY);
  out.Put(NFTA_DATA_VALUE, element.address.bytes());
  out.Close(key);
  if (element.is_end) out.PutBig32(NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
  out.Close(nest);
}

bool DecodeElements(Bytes elements, Family family, std::vector<Element>& out) {
  bool all = true;
  ForEachAttribute(elements, [&](const Attribute& element) {
    const auto key = FindAttribute(element.value, NFTA_SET_ELEM_KEY);
    const auto value = key ? FindAttribute(key->value, NFTA_DATA_VALUE) : std::nullopt;
    const std::uint32_t flags = NumberOf(element.value, NFTA_SET_ELEM_FLAGS).value_or(0);
    if (!value || value->value.size() * 8 != static_cast<std::size_t>(AddressBits(family)) ||
        (flags & ~std::uint32_t{NFT_SET_ELEM_INTERVAL_END}) != 0) {
      all = false;
      return;
    }
    out.push_back({IpAddress::FromBytes(value->value), flags != 0});
  });
  return all;
}

}  // namespace sluice::nftables
