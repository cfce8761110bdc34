// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// The decoder of nf_tables rules. The first byte gives the family and whether the rest is a rule's
// expressions, the elements of a set, or nft(8)'s data for a rule (its comment).
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "capture/rule_text.h"
#include "nftables/codec.h"
#include "nftables/comment.h"
#include "nftables/intervals.h"
#include "nftables/program/program.h"
#include "nftables/program/rule_program.h"
#include "nftables/text.h"
#include "test/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;  // NOLINT(google-build-using-namespace): the whole of a program
  using fuzz::Require;
  if (size == 0) return 0;
  const Family family = (data[0] & 1) == 0 ? Family::kIpv4 : Family::kIpv6;
  const auto table = static_cast<capture::Table>((data[0] >> 1) % 3);
  // A separate copy, so that reads beyond its end are detected.
  const std::vector<std::uint8_t> bytes(data + 1, data + size);
  if ((data[0] & 0x80) != 0) {
    std::vector<nftables::Element> elements;
    nftables::DecodeElements(bytes, family, elements);
    const auto ranges = nftables::ToRanges(std::move(elements), family);
    Require(nftables::ToRanges(nftables::ToElements(ranges), family) == ranges,
            "ranges are read as written");
    return 0;
  }
  if ((data[0] & 0x40) != 0) {
    const std::string comment = nftables::ToComment(nftables::DecodeComment(bytes));
    Require(comment.size() <= nftables::kMostCommentBytes, "a comment is short enough for nft");
    Require(nftables::DecodeComment(nftables::EncodeComment(comment)) == comment,
            "a comment is read as written");
    return 0;
  }
  auto decoded = nftables::DecodeProgram(bytes, family);
  // As after reading the elements.
  for (nftables::Expression& expression : decoded.program) {
    if (auto* const set = std::get_if<nftables::InSet>(&expression)) {
      set->name.clear();
      set->ranges = {Cidr(IpAddress(), 1)};
    }
  }
  const auto rule = nftables::ToRule(decoded.program, family, table);
  if (!rule) return 0;
  Require(!capture::ToText(*rule).empty(), "a rule has a text");
  Require(!nftables::NftText(*rule, family, table).empty(), "a rule has a text for nft");
  Require(nftables::ToProgram(*rule, family, table) == decoded.program,
          "a rule is read as written");
  return 0;
}
