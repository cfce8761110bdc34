// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <compare>
#include <vector>

#include "base/cidr.h"
#include "base/ip_address.h"
#include "nftables/message.h"

// Lists of ranges as elements of interval sets, and those as attributes of nf_tables messages
// (linux/netfilter/nf_tables.h). Pure.
namespace sluice::nftables {

// One end of an interval in a set: the first address inside, or the first one after it.
struct Element {
  IpAddress address;
  bool is_end = false;
  friend auto operator<=>(const Element&, const Element&) = default;
};

// The elements for `ranges`, which are of one family, sorted and disjoint. Adjacent ranges become
// one interval, and one that includes the last address has no end.
std::vector<Element> ToElements(const std::vector<Cidr>& ranges);

// The fewest ranges that equal `elements` (of `family`, in any order).
std::vector<Cidr> ToRanges(std::vector<Element> elements, Family family);

// Writes one element into a nest of NFTA_SET_ELEM_LIST_ELEMENTS.
void EncodeElement(const Element& element, MessageWriter& out);

// Decodes such a nest and appends to `out`. False if an element is not an address of
// `family`.
bool DecodeElements(Bytes elements, Family family, std::vector<Element>& out);

}  // namespace sluice::nftables
