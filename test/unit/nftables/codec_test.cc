// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "nftables/codec.h"

#include <linux/netfilter/nf_tables.h>

#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nftables/comment.h"
#include "nftables/intervals.h"
#include "nftables/program/rule_program.h"
#include "test/unit/nftables/vocabulary.h"

namespace sluice::nftables {
namespace {

using testing::ElementsAre;

std::vector<Cidr> Ranges(std::initializer_list<const char*> texts) {
  std::vector<Cidr> out;
  for (const char* const text : texts) out.push_back(Cidr::Parse(text));
  return out;
}

TEST(Elements, BehindTheLastAddressIsNoEnd) {
  EXPECT_THAT(ToElements(Ranges({"0.0.0.0/0"})), ElementsAre(Element{IpAddress(), false}));
  EXPECT_THAT(ToElements(Ranges({"::/0"})), ElementsAre(Element{IpAddress::Parse("::"), false}));
  EXPECT_THAT(ToElements(Ranges({"10.0.0.0/8", "255.255.255.254/31"})),
              ElementsAre(Element{IpAddress::Parse("10.0.0.0"), false},
                          Element{IpAddress::Parse("11.0.0.0"), true},
                          Element{IpAddress::Parse("255.255.255.254"), false}));
}

TEST(Elements, NeighboursAreOneInterval) {
  const auto ranges = Ranges({"10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/25"});
  EXPECT_THAT(ToElements(ranges), ElementsAre(Element{IpAddress::Parse("10.0.1.0"), false},
                                              Element{IpAddress::Parse("10.0.3.128"), true}));
  EXPECT_EQ(ToRanges(ToElements(ranges), Family::kIpv4), ranges);
}

TEST(Elements, GiveTheRangesBack) {
  std::mt19937 engine(7);
  for (const Family family : capture::kFamilies) {
    for (int round = 0; round < 200; ++round) {
      std::vector<Cidr> ranges;
      for (std::size_t i = engine() % 40; i > 0; --i) {
        std::array<std::uint8_t, 16> bytes{};
        for (auto& byte : bytes) byte = static_cast<std::uint8_t>(engine());
        if (engine() % 4 == 0) bytes[0] = 0xff;
        const auto bits = static_cast<unsigned>(AddressBits(family));
        // Short prefixes, so that neighbours occur.
        const auto length = static_cast<int>(engine() % (engine() % 2 == 0 ? 8 : bits + 1));
        ranges.emplace_back(IpAddress::FromBytes(std::span(bytes).first(bits / 8)), length);
      }
      ranges = Aggregate(std::move(ranges));
      std::vector<Element> elements = ToElements(ranges);
      std::ranges::shuffle(elements, engine);
      ASSERT_EQ(ToRanges(elements, family), ranges);
    }
  }
}

// nft(8) writes an interval end at the lowest address if no interval begins there.
TEST(Elements, AnEndOfNothingIsNone) {
  auto elements = ToElements(Ranges({"10.0.0.0/8"}));
  elements.push_back({IpAddress(), true});
  EXPECT_EQ(ToRanges(elements, Family::kIpv4), Ranges({"10.0.0.0/8"}));
}

DecodedRule ThereAndBack(const Program& program, Family family,
                         const capture::Counters& counters = {}) {
  MessageWriter out;
  out.Begin(0, 0, 0, 0);
  EncodeProgram(
      program, family, counters, [](const InSet&) { return SetReference{.id = 1}; }, out);
  out.End();
  const auto* const data = reinterpret_cast<const std::uint8_t*>(out.bytes().data());
  const Bytes attributes = Bytes(data, out.bytes().size()).subspan(20);  // both headers
  const auto expressions = FindAttribute(attributes, NFTA_RULE_EXPRESSIONS);
  return DecodeProgram(expressions ? expressions->value : Bytes(), family);
}

// The kernel only names a rule's set; elements are read by that name.
Program WithoutSets(Program program) {
  for (Expression& expression : program) {
    if (auto* set = std::get_if<InSet>(&expression)) *set = InSet{{}, kAnonymousSet};
  }
  return program;
}

TEST(Programs, OfTheWholeVocabularyComeBack) {
  for (const Family family : capture::kFamilies) {
    for (const auto& [table, rule] : Vocabulary(family)) {
      const Program program = ToProgram(rule, family, table);
      EXPECT_EQ(ToRule(program, family, table), rule) << rule;
      const DecodedRule decoded =
          ThereAndBack(program, family, {.packets = 3, .bytes = 1ULL << 40});
      EXPECT_EQ(decoded.program, WithoutSets(program)) << rule;
      EXPECT_EQ(decoded.counters.packets, 3U);
      EXPECT_EQ(decoded.counters.bytes, 1ULL << 40);
    }
  }
}

TEST(Programs, ThatAreNotOursAreNoRules) {
  const Program ours =
      ToProgram({.protocol = capture::Protocol::kTcp}, Family::kIpv4, capture::Table::kNat);
  const auto rule_of = [](const Program& program) {
    return ToRule(program, Family::kIpv4, capture::Table::kNat);
  };
  ASSERT_TRUE(rule_of(ours));
  for (std::size_t i = 0; i < ours.size(); ++i) {
    Program less = ours;
    less.erase(less.begin() + static_cast<std::ptrdiff_t>(i));
    EXPECT_NE(rule_of(less), rule_of(ours));
    Program more = ours;
    more.insert(more.begin() + static_cast<std::ptrdiff_t>(i), Unknown{"quota"});
    EXPECT_FALSE(rule_of(more)) << i;
  }
  EXPECT_FALSE(rule_of({}));
}

TEST(Comments, AreAsNftHasThem) {
  const std::string comment = "--proxy-uid=1337";
  const auto userdata = EncodeComment(comment);
  ASSERT_EQ(userdata.size(), comment.size() + 3);
  EXPECT_EQ(userdata[0], 0);  // NFTNL_UDATA_RULE_COMMENT
  EXPECT_EQ(userdata[1], comment.size() + 1);
  EXPECT_EQ(userdata.back(), 0);
  EXPECT_EQ(DecodeComment(userdata), comment);
  EXPECT_THAT(EncodeComment(""), testing::IsEmpty());
  // After an item of another kind; and truncated.
  std::vector<std::uint8_t> more = {1, 2, 0, 0};
  more.insert(more.end(), userdata.begin(), userdata.end());
  EXPECT_EQ(DecodeComment(more), comment);
  for (std::size_t size = 0; size < userdata.size(); ++size) {
    EXPECT_EQ(DecodeComment(Bytes(userdata).first(size)), "") << size;
  }
}

TEST(Comments, AreWhatNftCanRead) {
  EXPECT_EQ(ToComment("--include-interfaces=a\"b\n\xc3\xa4"), "--include-interfaces=a?b???");
  EXPECT_EQ(ToComment(std::string(128, 'x')), std::string(128, 'x'));
  EXPECT_EQ(ToComment(std::string(129, 'x')), std::string(125, 'x') + "...");
}

TEST(Attributes, ThatAreCutOffAreLeftOut) {
  MessageWriter out;
  out.Begin(0, 0, 0, 0);
  out.PutText(1, "abc");
  out.PutBig32(2, 7);
  out.End();
  const auto* const data = reinterpret_cast<const std::uint8_t*>(out.bytes().data());
  const Bytes whole = Bytes(data, out.bytes().size()).subspan(20);
  for (std::size_t size = 0; size <= whole.size(); ++size) {
    const auto text = FindAttribute(whole.first(size), 1);
    EXPECT_EQ(text.has_value(), size >= 8) << size;
    EXPECT_EQ(FindAttribute(whole.first(size), 2).has_value(), size >= 16) << size;
  }
  EXPECT_EQ(FindAttribute(whole, 1)->Text(), "abc");
  EXPECT_EQ(FindAttribute(whole, 2)->Big32(), 7U);
  EXPECT_EQ(FindAttribute(whole, 2)->Big64(), std::nullopt);
}

}  // namespace
}  // namespace sluice::nftables
