// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Rules to kernel bytes and back. The namespace tests prove with iptables-legacy-save that the
// bytes are right.

#include "iptables/layout/xt_entry.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "capture/capture_rules.h"
#include "capture/rule_text.h"
#include "iptables/compile.h"
#include "iptables/layout/xt_layout.h"
#include "test/support/capture_cases.h"

namespace sluice::iptables {
namespace {

using testing::ElementsAre;

std::size_t HeaderSize(Family family) {
  return family == Family::kIpv4 ? sizeof(ipt_entry) : sizeof(ip6t_entry);
}

std::optional<capture::Rule> RoundTrip(const capture::Rule& rule, Family family) {
  return DecodeEntry(EncodeEntry(rule, family), TargetName(rule.target), family);
}

// Every match and target, plain and negated, one per rule.
std::vector<capture::Rule> OneOfEach(Family family) {
  const Cidr range = Cidr::Parse(family == Family::kIpv4 ? "10.1.0.0/17" : "fd00:1::/33");
  constexpr capture::Mark kMark{0x539, 0x7ff};
  const PortRange web = PortRange::Single(443);
  const PortRange many{8000, 8999};
  return {
      {},
      {.source = capture::Is(range)},
      {.source = capture::Not(range), .destination = capture::Is(range)},
      {.destination = capture::Not(range)},
      {.destination = capture::Not(Cidr(range.address(), 0))},
      {.in_interface = capture::Is("eth0")},
      {.in_interface = capture::Not(std::string("eth+"))},
      {.in_interface = capture::Is("fifteen-letters"), .out_interface = capture::Is("a")},
      {.out_interface = capture::Not(std::string("lo"))},
      {.protocol = capture::Protocol::kTcp},
      {.protocol = capture::Protocol::kUdp},
      {.protocol = capture::Protocol::kTcp, .matches = {capture::PortMatch{}}},
      {.protocol = capture::Protocol::kTcp,
       .matches = {capture::PortMatch{.destination = capture::Is(web)}}},
      {.protocol = capture::Protocol::kTcp,
       .matches = {capture::PortMatch{.source = capture::Not(web)}}},
      {.protocol = capture::Protocol::kTcp,
       .matches = {capture::PortMatch{.destination = capture::Not(many)}}},
      {.protocol = capture::Protocol::kTcp,
       .matches = {capture::PortMatch{.source = capture::Is(web),
                                      .destination = capture::Is(many)}}},
      {.protocol = capture::Protocol::kUdp,
       .matches = {capture::PortMatch{.destination = capture::Is(web)}}},
      {.protocol = capture::Protocol::kUdp,
       .matches = {capture::PortMatch{.source = capture::Not(web),
                                      .destination = capture::Not(many)}}},
      {.matches = {capture::OwnerMatch{.uid = capture::Is(0U)}}},
      {.matches = {capture::OwnerMatch{.uid = capture::Not(1337U)}}},
      {.matches = {capture::OwnerMatch{.gid = capture::Is(4294967294U)}}},
      {.matches = {capture::OwnerMatch{.uid = capture::Is(1U), .gid = capture::Not(2U)}}},
      {.matches = {capture::OwnerMatch{.gid = capture::Not(1U)},
                   capture::OwnerMatch{.gid = capture::Not(2U)}}},
      {.matches = {capture::ConntrackStateMatch{.invalid = true}}},
      {.matches = {capture::ConntrackStateMatch{.established = true, .related = true}}},
      {.matches = {capture::MarkMatch{capture::Is(kMark)}}},
      {.matches = {capture::MarkMatch{capture::Not(kMark)}}},
      {.matches = {capture::ConnmarkMatch{capture::Is(kMark)}}},
      {.matches = {capture::ConnmarkMatch{capture::Not(capture::Mark{7})}}},
      {.target = capture::Accept{}},
      {.target = capture::Drop{}},
      {.target = capture::Jump{"ISTIO_OUTPUT"}},
      {.target = capture::Goto{"ISTIO_A_CHAIN_OF_28_LETTERS_"}},
      {.protocol = capture::Protocol::kTcp, .target = capture::Redirect{15001}},
      {.protocol = capture::Protocol::kTcp, .target = capture::Tproxy{15006, kMark}},
      {.target = capture::SetMark{kMark}},
      {.target = capture::SaveConnmark{0x7ff}},
      {.target = capture::RestoreConnmark{}},
      {.target = capture::CtZone{2}},
  };
}

std::vector<capture::Rule> RulesOf(const capture::TableRules& table) {
  std::vector<capture::Rule> rules;
  for (const capture::EntryJump& jump : table.jumps) rules.push_back(jump.rule);
  for (const capture::Chain& chain : table.chains) {
    rules.insert(rules.end(), chain.rules.begin(), chain.rules.end());
  }
  return rules;
}

class XtEntry : public testing::TestWithParam<Family> {};
INSTANTIATE_TEST_SUITE_P(, XtEntry, testing::ValuesIn(capture::kFamilies),
                         [](const auto& info) { return std::string(Name(info.param)); });

TEST_P(XtEntry, EveryMatchAndTargetComesBackAsItWas) {
  for (const capture::Rule& rule : OneOfEach(GetParam())) {
    EXPECT_EQ(RoundTrip(rule, GetParam()), std::optional(rule)) << rule;
  }
}

TEST_P(XtEntry, DifferentRulesHaveDifferentBytesOrTargets) {
  const std::vector<capture::Rule> rules = OneOfEach(GetParam());
  for (std::size_t i = 0; i < rules.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      EXPECT_TRUE(EncodeEntry(rules[i], GetParam()) != EncodeEntry(rules[j], GetParam()) ||
                  TargetName(rules[i].target) != TargetName(rules[j].target))
          << rules[i] << " and " << rules[j];
    }
  }
}

TEST_P(XtEntry, EveryRuleOfEveryCaseComesBackAsItWas) {
  int rules = 0;
  for (const auto& chosen : testing_support::CaptureCases()) {
    const capture::RuleSet set = Compile(capture::BuildRules(ConfigOf(chosen)));
    for (const capture::TableRules& table : set.family(GetParam()).tables) {
      for (const capture::Rule& rule : RulesOf(table)) {
        EXPECT_EQ(RoundTrip(rule, GetParam()), std::optional(rule)) << chosen.name << ": " << rule;
        ++rules;
      }
    }
  }
  EXPECT_GT(rules, 500);
}

TEST_P(XtEntry, CutShortIsNoRule) {
  for (const capture::Rule& rule : OneOfEach(GetParam())) {
    const std::vector<std::byte> entry = EncodeEntry(rule, GetParam());
    std::size_t accepted = 0;
    for (std::size_t size = 0; size < entry.size(); ++size) {
      // A separate copy, so that a sanitizer detects reads beyond its end.
      const std::vector<std::byte> part(entry.begin(),
                                        entry.begin() + static_cast<std::ptrdiff_t>(size));
      if (const auto decoded = DecodeEntry(part, TargetName(rule.target), GetParam())) {
        EXPECT_EQ(*decoded, rule) << size << " bytes";
        ++accepted;
      }
    }
    // A standard target's number and padding are ignored: only its name counts.
    EXPECT_LE(accepted, rule.target.index() > 4 ? 0U : 8U) << rule;
  }
}

// Rules with random conditions, each absent, negated or extreme, and a random target.
class RandomRules {
 public:
  explicit RandomRules(Family family) : family_(family) {}

  capture::Rule Next() {
    capture::Rule rule{.source = Maybe([this] { return Range(); }),
                       .destination = Maybe([this] { return Range(); }),
                       .in_interface = Maybe([this] { return Interface(); }),
                       .out_interface = Maybe([this] { return Interface(); })};
    // A match or target with ports needs a protocol; also try without.
    if (Below(4) != 0) {
      rule.protocol = Below(2) == 0 ? capture::Protocol::kTcp : capture::Protocol::kUdp;
    }
    for (std::uint32_t count = Below(4); count > 0; --count) {
      if (auto match = Match(rule.protocol.has_value())) rule.matches.push_back(*std::move(match));
    }
    rule.target = Target();
    return rule;
  }

 private:
  std::uint32_t Below(std::uint32_t limit) { return static_cast<std::uint32_t>(random_()) % limit; }
  std::uint32_t Extreme(std::uint32_t most) {
    const std::uint32_t kind = Below(4);
    if (kind < 2) return kind == 0 ? 0 : most;
    return most == 0xffffffff ? static_cast<std::uint32_t>(random_()) : Below(most + 1);
  }

  template <typename Make>
  auto Maybe(Make make) -> std::optional<capture::Condition<decltype(make())>> {
    if (Below(3) == 0) return {};
    return capture::Condition<decltype(make())>{make(), Below(3) == 0};
  }

  Cidr Range() {
    std::array<std::uint8_t, 16> bytes;
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random_());
    const auto bits = static_cast<std::uint32_t>(AddressBits(family_));
    return Cidr(IpAddress::FromBytes(std::span(bytes).first(bits / 8)),
                static_cast<int>(Extreme(bits)));
  }
  std::string Interface() {
    std::string name(1 + Below(14), 'a');
    for (char& c : name) c = static_cast<char>('a' + Below(26));
    return Below(3) == 0 ? name + "+" : name;
  }
  PortRange Ports() {
    const auto a = static_cast<std::uint16_t>(Extreme(0xffff));
    const auto b = static_cast<std::uint16_t>(Extreme(0xffff));
    return {std::min(a, b), std::max(a, b)};
  }
  capture::Mark Mark() { return {Extreme(0xffffffff), Extreme(0xffffffff)}; }
  std::optional<capture::Match> Match(bool ports) {
    switch (Below(5)) {
      case 0:
        if (!ports) return {};
        return capture::PortMatch{.source = Maybe([this] { return Ports(); }),
                                  .destination = Maybe([this] { return Ports(); })};
      case 1:
        return capture::OwnerMatch{.uid = Maybe([this] { return Extreme(0xffffffff); }),
                                   .gid = Maybe([this] { return Extreme(0xffffffff); })};
      case 2:
        return capture::ConntrackStateMatch{
            .invalid = Below(2) == 0, .established = Below(2) == 0, .related = true};
      case 3:
        return capture::MarkMatch{{Mark(), Below(2) == 0}};
      default:
        return capture::ConnmarkMatch{{Mark(), Below(2) == 0}};
    }
  }
  capture::Target Target() {
    const auto port = static_cast<std::uint16_t>(Extreme(0xffff));
    switch (Below(11)) {
      case 0:
        return capture::Accept{};
      case 1:
        return capture::Drop{};
      case 2:
        return capture::Return{};
      case 3:
        return capture::Jump{"ISTIO_" + Interface()};
      case 4:
        return capture::Goto{"ISTIO_" + Interface()};
      case 5:
        return capture::Redirect{port};
      case 6:
        return capture::Tproxy{port, Mark()};
      case 7:
        return capture::SetMark{Mark()};
      case 8:
        return capture::SaveConnmark{Extreme(0xffffffff)};
      case 9:
        return capture::RestoreConnmark{Extreme(0xffffffff)};
      default:
        return capture::CtZone{port};
    }
  }

  Family family_;
  std::mt19937 random_{20261126};
};

// A rule that comes back changed would be rewritten by each run.
TEST_P(XtEntry, WhateverTheRuleItComesBackInItsCanonicalForm) {
  RandomRules rules(GetParam());
  int other = 0;
  for (int i = 0; i < 20000; ++i) {
    const capture::Rule rule = rules.Next();
    const capture::Rule canonical = Canonical(rule);
    ASSERT_EQ(RoundTrip(rule, GetParam()), std::optional(canonical)) << rule;
    ASSERT_EQ(RoundTrip(canonical, GetParam()), std::optional(canonical)) << rule;
    other += canonical != rule;
  }
  EXPECT_GT(other, 1000);  // conditions that every packet meets did occur
}

// Any bytes decode to nothing, or to a rule that encodes differently.
TEST_P(XtEntry, ChangedBytesNeverCrashNorPassForTheRule) {
  std::mt19937 random(1);
  for (const capture::Rule& rule : OneOfEach(GetParam())) {
    const std::vector<std::byte> good = EncodeEntry(rule, GetParam());
    const std::vector<std::byte> plain = EncodeEntry(rule, GetParam());
    for (int i = 0; i < 400; ++i) {
      std::vector<std::byte> bad = good;
      const std::size_t changes = 1 + random() % 4;
      for (std::size_t n = 0; n < changes; ++n) {
        bad[random() % bad.size()] = static_cast<std::byte>(random());
      }
      const auto decoded = DecodeEntry(bad, TargetName(rule.target), GetParam());
      if (decoded) static_cast<void>(ToText(*decoded));
    }
  }
}

// Changing any single bit that the kernel uses gives another rule, or an unknown one.
TEST_P(XtEntry, EveryBitOfAnOwnerMatchCounts) {
  const capture::Rule rule{.matches = {capture::OwnerMatch{.uid = capture::Is(1337U)}},
                           .target = capture::SetMark{{1, 1}}};
  const std::vector<std::byte> good = EncodeEntry(rule, GetParam());
  // xt_owner_match_info follows the entry and the match header: four ids, match, invert.
  const std::size_t info = HeaderSize(GetParam()) + 32;
  for (const std::size_t offset : {0U, 4U, 8U, 12U, 16U, 17U}) {
    for (int bit = 0; bit < 8; ++bit) {
      std::vector<std::byte> bad = good;
      bad[info + offset] ^= std::byte{1} << bit;
      EXPECT_NE(DecodeEntry(bad, "MARK", GetParam()), std::optional(rule)) << offset << "," << bit;
    }
  }
}

TEST_P(XtEntry, LeavesToOthersWhatSluiceDoesNotWrite) {
  const capture::Rule rule{.protocol = capture::Protocol::kTcp, .target = capture::Redirect{15001}};
  const std::vector<std::byte> good = EncodeEntry(rule, GetParam());
  ASSERT_EQ(DecodeEntry(good, "REDIRECT", GetParam()), std::optional(rule));
  const std::size_t target = HeaderSize(GetParam());
  std::vector<std::byte> other = good;
  other[target + 2] = std::byte{'X'};  // XEDIRECT
  EXPECT_EQ(DecodeEntry(other, "XEDIRECT", GetParam()), std::nullopt);
  other = good;
  other[target + 2 + 29] = std::byte{1};  // a revision that Sluice does not use
  EXPECT_EQ(DecodeEntry(other, "REDIRECT", GetParam()), std::nullopt);
  const capture::Rule counting{};
  EXPECT_EQ(DecodeEntry(EncodeEntry(counting, GetParam()), "", GetParam()), std::nullopt);
}

// The kernel's field holds 15 letters and a NUL.
TEST_P(XtEntry, InterfaceNameWithoutAnEndIsNotOurs) {
  const capture::Rule rule{.in_interface = capture::Is("fifteen-letter+"),
                           .target = capture::Drop{}};
  std::vector<std::byte> entry = EncodeEntry(rule, GetParam());
  ASSERT_EQ(DecodeEntry(entry, "DROP", GetParam()), std::optional(rule));
  const std::size_t name = GetParam() == Family::kIpv4 ? offsetof(ipt_entry, ip.iniface)
                                                       : offsetof(ip6t_entry, ipv6.iniface);
  const std::size_t mask = name + 2 * IFNAMSIZ;
  entry[name + 14] = std::byte{'s'};
  entry[name + 15] = std::byte{'+'};
  entry[mask + 14] = std::byte{0xff};
  EXPECT_EQ(DecodeEntry(entry, "DROP", GetParam()), std::nullopt);
}

TEST_P(XtEntry, RefusesWhatNetfilterCannotSay) {
  const Family other = GetParam() == Family::kIpv4 ? Family::kIpv6 : Family::kIpv4;
  const capture::Rule foreign{
      .source = capture::Is(Cidr::Parse(other == Family::kIpv4 ? "10.0.0.0/8" : "fd00::/8"))};
  EXPECT_THROW(EncodeEntry(foreign, GetParam()), std::invalid_argument);
  EXPECT_THROW(EncodeEntry({.matches = {capture::PortMatch{}}}, GetParam()), std::invalid_argument);
  EXPECT_THROW(EncodeEntry({.in_interface = capture::Is("")}, GetParam()), std::invalid_argument);
  EXPECT_THROW(EncodeEntry({.in_interface = capture::Is("sixteen-letters-")}, GetParam()),
               std::invalid_argument);
  EXPECT_THROW(EncodeEntry({.target = capture::Jump{""}}, GetParam()), std::invalid_argument);
  EXPECT_THROW(EncodeEntry({.target = capture::Jump{std::string(29, 'A')}}, GetParam()),
               std::invalid_argument);
}

TEST(ExtensionsOf, NamesEachWithItsModule) {
  const capture::TableRules rules{
      .jumps = {{capture::Hook::kOutput, {.target = capture::Jump{"ISTIO_A"}}}},
      .chains = {{"ISTIO_A",
                  {{.protocol = capture::Protocol::kUdp,
                    .matches = {capture::PortMatch{}},
                    .target = capture::CtZone{1}},
                   {.matches = {capture::OwnerMatch{.uid = capture::Is(1U)},
                                capture::OwnerMatch{.uid = capture::Is(2U)}}}}}}};
  EXPECT_THAT(ExtensionsOf(rules), ElementsAre(Extension{"CT", 2, true, "xt_CT"},
                                               Extension{"owner", 1, false, "xt_owner"},
                                               Extension{"udp", 0, false, "xt_tcpudp"}));
}

}  // namespace
}  // namespace sluice::iptables
