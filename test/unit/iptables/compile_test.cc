// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Lists of ranges in rules, as compiled for x_tables.

#include "iptables/compile.h"

#include <stdexcept>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "iptables/range_chains.h"

namespace sluice::iptables {
namespace {

using capture::Chain;
using capture::Goto;
using capture::Is;
using capture::Jump;
using capture::RangeList;
using capture::RangeOf;
using capture::Return;
using capture::Rule;
using testing::ElementsAre;
using testing::SizeIs;

std::vector<Cidr> Ranges(std::size_t count) {
  std::vector<Cidr> out;
  for (std::size_t i = 0; i < count; ++i) {
    out.emplace_back(IpAddress::V4(10, static_cast<std::uint8_t>(i / 256),
                                   static_cast<std::uint8_t>(i % 256), 0),
                     25);
  }
  return out;
}

capture::TableRules TableOf(std::vector<Rule> rules) {
  return {.table = capture::Table::kNat, .chains = {{"ISTIO_OUTPUT", std::move(rules)}}};
}

Rule Excluding(std::size_t count, RangeOf of = RangeOf::kDestination) {
  return {.list = RangeList{of, Ranges(count), "ISTIO_EXCLUDE", "ISTIO_PORTS"}, .target = Return{}};
}

TEST(Compile, ShortListBecomesARuleForEachRange) {
  const Rule last{.target = Jump{"ISTIO_REDIRECT"}};
  Rule list = Excluding(2, RangeOf::kSource);
  list.out_interface = Is("eth0");
  const auto out = Compile(TableOf({list, last}));
  const auto ranges = Ranges(2);
  const auto of = [](const Cidr& range) {
    return Rule{.source = Is(range), .out_interface = Is("eth0"), .target = Return{}};
  };
  EXPECT_THAT(out.chains, ElementsAre(Chain{"ISTIO_OUTPUT", {of(ranges[0]), of(ranges[1]), last}}));
}

TEST(Compile, RulesBehindALongListMoveToTheChainThatItNames) {
  const Rule last{.target = Jump{"ISTIO_REDIRECT"}};
  const auto out = Compile(TableOf({Excluding(kLinearRanges + 1), last}));
  ASSERT_GT(out.chains.size(), 2U);
  EXPECT_EQ(out.chains.front().name, "ISTIO_OUTPUT");
  EXPECT_EQ(out.chains.front().rules.back(), Rule{.target = Goto{"ISTIO_PORTS"}});
  EXPECT_EQ(out.chains.back(), (Chain{"ISTIO_PORTS", {last}}));
  for (const Chain& chain : out.chains) {
    for (const Rule& rule : chain.rules) EXPECT_FALSE(rule.list.has_value());
  }
}

TEST(Compile, LongListAtTheEndNeedsNoFurtherChain) {
  Rule list = Excluding(kLinearRanges + 1);
  list.list->rest.clear();
  const auto out = Compile(TableOf({list}));
  for (const Chain& chain : out.chains) EXPECT_THAT(chain.name, testing::Not("ISTIO_PORTS"));
}

TEST(Compile, RefusesALongListThatCannotBecomeATree) {
  Rule conditional = Excluding(kLinearRanges + 1);
  conditional.out_interface = Is("eth0");
  EXPECT_THROW(Compile(TableOf({conditional})), std::invalid_argument);
  Rule nameless = Excluding(kLinearRanges + 1);
  nameless.list->rest.clear();
  EXPECT_THROW(Compile(TableOf({nameless, Rule{}})), std::invalid_argument);
}

TEST(Compile, KeepsJumpsAndTables) {
  const capture::TableRules nat{
      .table = capture::Table::kNat,
      .jumps = {{capture::Hook::kOutput, {.target = Jump{"ISTIO_OUTPUT"}}}},
      .chains = {{"ISTIO_OUTPUT", {}}}};
  EXPECT_EQ(Compile(nat), nat);
}

}  // namespace
}  // namespace sluice::iptables
