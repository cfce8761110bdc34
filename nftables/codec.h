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
#include "nftables/program/program.h"

// Encodes programs and sets as attributes of nf_tables messages, and decodes them
// (linux/netfilter/nf_tables.h). Decoding accepts any bytes. Pure.
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

// A decoded kernel rule.
struct DecodedRule {
  Program program;
  capture::Counters counters;
};

// The maximum length of a rule comment in nft(8) (NFTNL_UDATA_COMMENT_MAXLEN of
// libnftnl/udata.h).
inline constexpr std::size_t kMostCommentBytes = 128;

// `text` as a rule comment: shortened, and without characters that nft cannot read in quotes.
std::string ToComment(std::string_view text);

// The NFTA_RULE_USERDATA content for `comment`, and the comment in such content; empty if there is
// none.
std::vector<std::uint8_t> EncodeComment(std::string_view comment);
std::string DecodeComment(Bytes userdata);

// The name of an anonymous set in a batch: the kernel puts a number into it.
inline constexpr const char* kAnonymousSet = "__set%d";

// How a rule refers to a set: by id within the same batch, or by the name of an existing set.
struct SetReference {
  std::string name = kAnonymousSet;
  std::uint32_t id = 0;  // 0: the set exists
};

// Writes the attribute NFTA_RULE_EXPRESSIONS. `set_of` returns the set for an InSet.
void EncodeProgram(const Program& program, Family family, const capture::Counters& counters,
                   const std::function<SetReference(const InSet&)>& set_of, MessageWriter& out);

// Decodes that attribute. An InSet has the kernel's name of its set, and no ranges yet.
DecodedRule DecodeProgram(Bytes expressions, Family family);

// An expression inside NFTA_RULE_EXPRESSIONS: `fill` writes its attributes.
void PutExpression(MessageWriter& out, const char* name, const std::function<void()>& fill);

// A value of one, which is a nest.
void PutData(MessageWriter& out, std::uint16_t attribute, Bytes value);

// Writes one element into a nest of NFTA_SET_ELEM_LIST_ELEMENTS.
void EncodeElement(const Element& element, MessageWriter& out);

// Decodes such a nest and appends to `out`. False if an element is not an address of
// `family`.
bool DecodeElements(Bytes elements, Family family, std::vector<Element>& out);

}  // namespace sluice::nftables
