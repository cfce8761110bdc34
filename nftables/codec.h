// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/cidr.h"
#include "capture/installed.h"
#include "nftables/message.h"
#include "nftables/program.h"

// Programs and sets as the attributes of nf_tables' messages, and back
// (linux/netfilter/nf_tables.h). Decoding takes any bytes. Pure.
namespace sluice::nftables {

// One end of an interval as an element of a set: the first address inside, or the first behind.
struct Element {
  IpAddress address;
  bool is_end = false;
  friend auto operator<=>(const Element&, const Element&) = default;
};

// The elements for `ranges`, which are of one family, sorted and disjoint. Neighbours become one
// interval, and one that ends with the last address has no end.
std::vector<Element> ToElements(const std::vector<Cidr>& ranges);

// The fewest ranges that are what `elements` (of `family`, in any order) say.
std::vector<Cidr> ToRanges(std::vector<Element> elements, Family family);

// What a rule of the kernel is.
struct DecodedRule {
  Program program;
  capture::Counters counters;
};

// What nft(8) takes and prints as the comment of a rule has at most so many bytes
// (NFTNL_UDATA_COMMENT_MAXLEN of libnftnl/udata.h).
inline constexpr std::size_t kMostCommentBytes = 128;

// `text` as the comment of a rule: shortened, and without what nft cannot read between quotes.
std::string ToComment(std::string_view text);

// The content of NFTA_RULE_USERDATA for `comment`, and the comment of any such content; empty
// where there is none.
std::vector<std::uint8_t> EncodeComment(std::string_view comment);
std::string DecodeComment(Bytes userdata);

// The name of an anonymous set in a batch: the kernel puts a number into it.
inline constexpr const char* kAnonymousSet = "__set%d";

// A set as a rule names it: by its id in the same batch, or one that is there by its name.
struct SetReference {
  std::string name = kAnonymousSet;
  std::uint32_t id = 0;  // 0: it is there
};

// Writes the attribute NFTA_RULE_EXPRESSIONS. `set_of` gives the set for an InSet.
void EncodeProgram(const Program& program, Family family, const capture::Counters& counters,
                   const std::function<SetReference(const InSet&)>& set_of, MessageWriter& out);

// The content of that attribute. An InSet has the kernel's name for its set and no ranges yet.
DecodedRule DecodeProgram(Bytes expressions, Family family);

// Writes one element into a nest of NFTA_SET_ELEM_LIST_ELEMENTS.
void EncodeElement(const Element& element, MessageWriter& out);

// The content of such a nest, behind what is in `out`. False when there is one that is no address
// of `family`.
bool DecodeElements(Bytes elements, Family family, std::vector<Element>& out);

}  // namespace sluice::nftables
