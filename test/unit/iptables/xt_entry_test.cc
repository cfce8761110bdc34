// Rules to the kernel's bytes and back. That the bytes are the right ones, the namespace tests
// prove with iptables-legacy-save.

#include "iptables/xt_entry.h"

#include <cstddef>
#include <cstring>
#include <random>
#include <stdexcept>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "iptables/capture_rules.h"
#include "iptables/rule_text.h"
#include "iptables/xt_layout.h"
#include "test/support/capture_cases.h"

namespace sluice::iptables {
namespace {

using testing::ElementsAre;

// What iptc_get_target says of a rule: the name of a chain or a verdict, else of the extension.
std::string TargetName(const Rule& rule) {
  struct Namer {
    std::string operator()(const Accept&) const { return "ACCEPT"; }
    std::string operator()(const Drop&) const { return "DROP"; }
    std::string operator()(const Return&) const { return "RETURN"; }
    std::string operator()(const Jump& jump) const { return jump.chain; }
    std::string operator()(const Goto& jump) const { return jump.chain; }
    std::string operator()(const Redirect&) const { return "REDIRECT"; }
    std::string operator()(const Tproxy&) const { return "TPROXY"; }
    std::string operator()(const SetMark&) const { return "MARK"; }
    std::string operator()(const SaveConnmark&) const { return "CONNMARK"; }
    std::string operator()(const RestoreConnmark&) const { return "CONNMARK"; }
    std::string operator()(const CtZone&) const { return "CT"; }
  };
  return std::visit(Namer{}, rule.target);
}

std::size_t HeaderSize(Family family) {
  return family == Family::kIpv4 ? sizeof(ipt_entry) : sizeof(ip6t_entry);
}

// As the kernel returns what EncodeEntry gave: there a standard target is a number without a name.
std::vector<std::byte> FromKernel(const Rule& rule, Family family) {
  std::vector<std::byte> entry = EncodeEntry(rule, family);
  if (rule.target.index() > 4) return entry;  // behind Goto stand the extensions
  std::uint16_t target_offset = 0;
  const std::size_t where = family == Family::kIpv4 ? offsetof(ipt_entry, target_offset)
                                                    : offsetof(ip6t_entry, target_offset);
  std::memcpy(&target_offset, entry.data() + where, sizeof(target_offset));
  // xt_entry_target: u16 size, then the name.
  std::fill_n(entry.begin() + target_offset + 2, 29, std::byte{0});
  return entry;
}

std::optional<Rule> RoundTrip(const Rule& rule, Family family) {
  return DecodeEntry(FromKernel(rule, family), TargetName(rule), family);
}

// Every match and target, plain and negated, by itself.
std::vector<Rule> OneOfEach(Family family) {
  const Cidr range = Cidr::Parse(family == Family::kIpv4 ? "10.1.0.0/17" : "fd00:1::/33");
  constexpr Mark kMark{0x539, 0x7ff};
  const PortRange web = PortRange::Single(443);
  const PortRange many{8000, 8999};
  return {
      {},
      {.source = Is(range)},
      {.source = Not(range), .destination = Is(range)},
      {.destination = Not(range)},
      {.destination = Not(Cidr(range.address(), 0))},
      {.in_interface = Is("eth0")},
      {.in_interface = Not(std::string("eth+"))},
      {.in_interface = Is("fifteen-letters"), .out_interface = Is("a")},
      {.out_interface = Not(std::string("lo"))},
      {.protocol = Protocol::kTcp},
      {.protocol = Protocol::kUdp},
      {.protocol = Protocol::kTcp, .matches = {PortMatch{}}},
      {.protocol = Protocol::kTcp, .matches = {PortMatch{.destination = Is(web)}}},
      {.protocol = Protocol::kTcp, .matches = {PortMatch{.source = Not(web)}}},
      {.protocol = Protocol::kTcp, .matches = {PortMatch{.destination = Not(many)}}},
      {.protocol = Protocol::kTcp,
       .matches = {PortMatch{.source = Is(web), .destination = Is(many)}}},
      {.protocol = Protocol::kUdp, .matches = {PortMatch{.destination = Is(web)}}},
      {.protocol = Protocol::kUdp,
       .matches = {PortMatch{.source = Not(web), .destination = Not(many)}}},
      {.matches = {OwnerMatch{.uid = Is(0U)}}},
      {.matches = {OwnerMatch{.uid = Not(1337U)}}},
      {.matches = {OwnerMatch{.gid = Is(4294967294U)}}},
      {.matches = {OwnerMatch{.uid = Is(1U), .gid = Not(2U)}}},
      {.matches = {OwnerMatch{.gid = Not(1U)}, OwnerMatch{.gid = Not(2U)}}},
      {.matches = {ConntrackStateMatch{.invalid = true}}},
      {.matches = {ConntrackStateMatch{.established = true, .related = true}}},
      {.matches = {MarkMatch{Is(kMark)}}},
      {.matches = {MarkMatch{Not(kMark)}}},
      {.matches = {ConnmarkMatch{Is(kMark)}}},
      {.matches = {ConnmarkMatch{Not(Mark{7})}}},
      {.target = Accept{}},
      {.target = Drop{}},
      {.target = Jump{"ISTIO_OUTPUT"}},
      {.target = Goto{"ISTIO_A_CHAIN_OF_28_LETTERS_"}},
      {.protocol = Protocol::kTcp, .target = Redirect{15001}},
      {.protocol = Protocol::kTcp, .target = Tproxy{15006, kMark}},
      {.target = SetMark{kMark}},
      {.target = SaveConnmark{0x7ff}},
      {.target = RestoreConnmark{}},
      {.target = CtZone{2}},
  };
}

std::vector<Rule> RulesOf(const TableRules& table) {
  std::vector<Rule> rules;
  for (const EntryJump& jump : table.jumps) rules.push_back(jump.rule);
  for (const Chain& chain : table.chains) {
    rules.insert(rules.end(), chain.rules.begin(), chain.rules.end());
  }
  return rules;
}

class XtEntry : public testing::TestWithParam<Family> {};
INSTANTIATE_TEST_SUITE_P(, XtEntry, testing::ValuesIn(kFamilies),
                         [](const auto& info) { return std::string(Name(info.param)); });

TEST_P(XtEntry, EveryMatchAndTargetComesBackAsItWas) {
  for (const Rule& rule : OneOfEach(GetParam())) {
    EXPECT_EQ(RoundTrip(rule, GetParam()), std::optional(rule)) << rule;
  }
}

TEST_P(XtEntry, DifferentRulesHaveDifferentBytes) {
  const std::vector<Rule> rules = OneOfEach(GetParam());
  for (std::size_t i = 0; i < rules.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      EXPECT_NE(EncodeEntry(rules[i], GetParam()), EncodeEntry(rules[j], GetParam()))
          << rules[i] << " and " << rules[j];
    }
  }
}

TEST_P(XtEntry, EveryRuleOfEveryCaseComesBackAsItWas) {
  int rules = 0;
  for (const auto& chosen : testing_support::CaptureCases()) {
    const RuleSet set = BuildRules(ConfigOf(chosen));
    for (const TableRules& table : set.family(GetParam()).tables) {
      for (const Rule& rule : RulesOf(table)) {
        EXPECT_EQ(RoundTrip(rule, GetParam()), std::optional(rule)) << chosen.name << ": " << rule;
        ++rules;
      }
    }
  }
  EXPECT_GT(rules, 500);
}

TEST_P(XtEntry, CutShortIsNoRule) {
  for (const Rule& rule : OneOfEach(GetParam())) {
    const std::vector<std::byte> entry = FromKernel(rule, GetParam());
    std::size_t accepted = 0;
    for (std::size_t size = 0; size < entry.size(); ++size) {
      // A copy of its own, so that a sanitizer sees a read beyond its end.
      const std::vector<std::byte> part(entry.begin(),
                                        entry.begin() + static_cast<std::ptrdiff_t>(size));
      if (const auto decoded = DecodeEntry(part, TargetName(rule), GetParam())) {
        EXPECT_EQ(*decoded, rule) << size << " bytes";
        ++accepted;
      }
    }
    // A standard target's number and its padding are not looked at: the name says it all.
    EXPECT_LE(accepted, rule.target.index() > 4 ? 0U : 8U) << rule;
  }
}

// Whatever the bytes are, the answer is nothing, or a rule that has other bytes again.
TEST_P(XtEntry, ChangedBytesNeverCrashNorPassForTheRule) {
  std::mt19937 random(1);
  for (const Rule& rule : OneOfEach(GetParam())) {
    const std::vector<std::byte> good = FromKernel(rule, GetParam());
    const std::vector<std::byte> plain = EncodeEntry(rule, GetParam());
    for (int i = 0; i < 400; ++i) {
      std::vector<std::byte> bad = good;
      const std::size_t changes = 1 + random() % 4;
      for (std::size_t n = 0; n < changes; ++n) {
        bad[random() % bad.size()] = static_cast<std::byte>(random());
      }
      const auto decoded = DecodeEntry(bad, TargetName(rule), GetParam());
      if (decoded) static_cast<void>(ToText(*decoded));
    }
  }
}

// A change of any single bit that the kernel looks at is another rule, or none of ours.
TEST_P(XtEntry, EveryBitOfAnOwnerMatchCounts) {
  const Rule rule{.matches = {OwnerMatch{.uid = Is(1337U)}}, .target = SetMark{{1, 1}}};
  const std::vector<std::byte> good = FromKernel(rule, GetParam());
  // xt_owner_match_info behind the entry and the header of the match: four ids, match, invert.
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
  const Rule rule{.protocol = Protocol::kTcp, .target = Redirect{15001}};
  const std::vector<std::byte> good = EncodeEntry(rule, GetParam());
  ASSERT_EQ(DecodeEntry(good, "REDIRECT", GetParam()), std::optional(rule));
  const std::size_t target = HeaderSize(GetParam());
  std::vector<std::byte> other = good;
  other[target + 2] = std::byte{'X'};  // XEDIRECT
  EXPECT_EQ(DecodeEntry(other, "XEDIRECT", GetParam()), std::nullopt);
  other = good;
  other[target + 2 + 29] = std::byte{1};  // a revision that is not ours
  EXPECT_EQ(DecodeEntry(other, "REDIRECT", GetParam()), std::nullopt);
  const Rule counting{};
  EXPECT_EQ(DecodeEntry(FromKernel(counting, GetParam()), "", GetParam()), std::nullopt);
}

// The kernel's field has room for 15 letters and a NUL.
TEST_P(XtEntry, InterfaceNameWithoutAnEndIsNotOurs) {
  const Rule rule{.in_interface = Is("fifteen-letter+"), .target = Drop{}};
  std::vector<std::byte> entry = FromKernel(rule, GetParam());
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
  const Rule foreign{.source = Is(Cidr::Parse(other == Family::kIpv4 ? "10.0.0.0/8" : "fd00::/8"))};
  EXPECT_THROW(EncodeEntry(foreign, GetParam()), std::invalid_argument);
  EXPECT_THROW(EncodeEntry({.matches = {PortMatch{}}}, GetParam()), std::invalid_argument);
  EXPECT_THROW(EncodeEntry({.in_interface = Is("")}, GetParam()), std::invalid_argument);
  EXPECT_THROW(EncodeEntry({.in_interface = Is("sixteen-letters-")}, GetParam()),
               std::invalid_argument);
  EXPECT_THROW(EncodeEntry({.target = Jump{""}}, GetParam()), std::invalid_argument);
  EXPECT_THROW(EncodeEntry({.target = Jump{std::string(29, 'A')}}, GetParam()),
               std::invalid_argument);
}

TEST(ExtensionsOf, NamesEachWithItsModule) {
  const TableRules rules{
      .jumps = {{Hook::kOutput, {.target = Jump{"ISTIO_A"}}}},
      .chains = {{"ISTIO_A",
                  {{.protocol = Protocol::kUdp, .matches = {PortMatch{}}, .target = CtZone{1}},
                   {.matches = {OwnerMatch{.uid = Is(1U)}, OwnerMatch{.uid = Is(2U)}}}}}}};
  EXPECT_THAT(ExtensionsOf(rules), ElementsAre(Extension{"CT", 2, true, "xt_CT"},
                                               Extension{"owner", 1, false, "xt_owner"},
                                               Extension{"udp", 0, false, "xt_tcpudp"}));
}

}  // namespace
}  // namespace sluice::iptables
