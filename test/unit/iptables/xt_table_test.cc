// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "iptables/layout/xt_table.h"

#include <algorithm>
#include <cstring>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "iptables/layout/xt_entry.h"
#include "iptables/layout/xt_layout.h"

namespace sluice::iptables {
namespace {

using testing::ElementsAre;

std::vector<std::string> NamesOf(const XtTable& table) {
  std::vector<std::string> names;
  for (const auto& [key, chain] : table.chains()) names.push_back(chain.name);
  return names;
}

std::vector<std::string> TargetsOf(const XtChain& chain) {
  std::vector<std::string> targets;
  for (const XtRule& rule : chain.rules) targets.push_back(rule.target);
  return targets;
}

class XtTableTest : public testing::TestWithParam<Family> {
 protected:
  XtRule RuleTo(const capture::Target& target) const {
    return {.entry = EncodeEntry({.target = target}, GetParam()), .target = TargetName(target)};
  }

  // As the kernel creates a nat table: four chains with a policy, and the end.
  XtBlob Fresh() const {
    XtBlob blob{.valid_hooks = 0b11011};
    std::vector<std::byte> policy = EncodeEntry({.target = capture::Accept{}}, GetParam());
    const int accept = -NF_ACCEPT - 1;
    std::memcpy(policy.data() + policy.size() - 8, &accept, sizeof(accept));
    for (const unsigned int hook : {0U, 1U, 3U, 4U}) {
      blob.hook_entry[hook] = blob.underflow[hook] = static_cast<unsigned int>(blob.entries.size());
      blob.entries.insert(blob.entries.end(), policy.begin(), policy.end());
    }
    const std::size_t header = HeaderSize();
    xt_error_target error{};
    error.target.u.user.target_size = xt::Aligned(sizeof(error));
    std::strcpy(error.target.u.user.name, XT_ERROR_TARGET);
    std::strcpy(error.errorname, XT_ERROR_TARGET);
    std::vector<std::byte> end(header + xt::Aligned(sizeof(error)));
    // A copy of the policy's header, with the size of this entry.
    std::copy_n(policy.begin(), header, end.begin());
    const auto size = static_cast<std::uint16_t>(end.size());
    std::memcpy(end.data() + NextOffset(), &size, sizeof(size));
    std::memcpy(end.data() + header, &error, sizeof(error));
    blob.entries.insert(blob.entries.end(), end.begin(), end.end());
    blob.entry_count = 5;
    return blob;
  }

  std::size_t HeaderSize() const {
    return GetParam() == Family::kIpv4 ? sizeof(ipt_entry) : sizeof(ip6t_entry);
  }
  std::size_t NextOffset() const {
    return GetParam() == Family::kIpv4 ? offsetof(ipt_entry, next_offset)
                                       : offsetof(ip6t_entry, next_offset);
  }

  XtTable FreshTable() const { return XtTable::Parse(Fresh(), GetParam()).value(); }
};

TEST_P(XtTableTest, AFreshTableIsReadAndComesBackAsItWas) {
  const XtTable table = FreshTable();
  EXPECT_THAT(NamesOf(table), ElementsAre("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"));
  for (const auto& [key, chain] : table.chains()) {
    EXPECT_TRUE(chain.rules.empty());
    EXPECT_EQ(chain.policy.target, "ACCEPT");
  }
  const auto image = table.Build();
  ASSERT_TRUE(image);
  EXPECT_TRUE(SameRules(image->blob, Fresh(), GetParam()));
  EXPECT_EQ(image->blob.entry_count, 5U);
}

TEST_P(XtTableTest, ChainsAreByNameAndJumpsFindThem) {
  XtTable table = FreshTable();
  // Jumps forward, backward and out of a built-in chain, and every verdict.
  for (const char* name : {"B", "A", "C"}) table.Create(name);
  table.Find("A")->rules = {RuleTo(capture::Jump{"C"}), RuleTo(capture::Return{})};
  table.Find("B")->rules = {RuleTo(capture::Goto{"A"}), RuleTo(capture::Drop{}),
                            RuleTo(capture::Redirect{15001})};
  table.Find("OUTPUT")->rules = {RuleTo(capture::Jump{"B"}), RuleTo(capture::Accept{})};
  XtRule counts = RuleTo(capture::Accept{});
  counts.target.clear();
  table.Find("C")->rules = {counts};

  const auto image = table.Build();
  ASSERT_TRUE(image);
  const auto again = XtTable::Parse(image->blob, GetParam());
  ASSERT_TRUE(again);
  EXPECT_THAT(NamesOf(*again),
              ElementsAre("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING", "A", "B", "C"));
  EXPECT_THAT(TargetsOf(*again->Find("A")), ElementsAre("C", "RETURN"));
  EXPECT_THAT(TargetsOf(*again->Find("B")), ElementsAre("A", "DROP", "REDIRECT"));
  EXPECT_THAT(TargetsOf(*again->Find("C")), ElementsAre(""));
  EXPECT_THAT(TargetsOf(*again->Find("OUTPUT")), ElementsAre("B", "ACCEPT"));
  EXPECT_TRUE(SameRules(image->blob, again->Build().value().blob, GetParam()));
}

TEST_P(XtTableTest, AJumpToAChainThatIsDeletedCannotBeWritten) {
  XtTable table = FreshTable();
  table.Create("A");
  table.Find("OUTPUT")->rules = {RuleTo(capture::Jump{"A"})};
  ASSERT_TRUE(table.Build());
  table.Delete("A");
  EXPECT_EQ(table.Find("A"), nullptr);
  EXPECT_FALSE(table.Build());
  table.Find("OUTPUT")->rules.clear();
  EXPECT_TRUE(SameRules(table.Build().value().blob, Fresh(), GetParam()));
}

TEST_P(XtTableTest, CountersStayWithTheirRules) {
  XtTable table = FreshTable();
  table.Create("A");
  table.Find("A")->rules = {RuleTo(capture::Drop{}), RuleTo(capture::Accept{})};
  auto again = XtTable::Parse(table.Build().value().blob, GetParam()).value();
  // Entries: four policies, A's name, its two rules, its end, the table's end.
  std::vector<XtRule>& rules = again.Find("A")->rules;
  EXPECT_EQ(rules[0].counters.kept, 5U);
  EXPECT_EQ(rules[1].counters.kept, 6U);
  XtRule restored = RuleTo(capture::Return{});
  restored.counters.start = {.packets = 7, .bytes = 420};
  rules.insert(rules.begin(), restored);
  const auto image = again.Build();
  ASSERT_TRUE(image);
  std::vector<std::optional<unsigned int>> kept;
  for (const XtCounters& each : image->counters) kept.push_back(each.kept);
  EXPECT_THAT(kept, ElementsAre(0U, 1U, 2U, 3U, std::nullopt, std::nullopt, 5U, 6U, std::nullopt,
                                std::nullopt));
  EXPECT_EQ(image->counters[5].start.packets, 7U);
  EXPECT_EQ(image->counters[5].start.bytes, 420U);
}

TEST_P(XtTableTest, OneChangedByteIsAnotherRule) {
  XtTable table = FreshTable();
  table.Find("OUTPUT")->rules = {RuleTo(capture::Redirect{15001})};
  const XtBlob blob = table.Build().value().blob;
  XtBlob other = blob;
  EXPECT_TRUE(SameRules(blob, other, GetParam()));
  // The counters end the header of the first entry.
  other.entries[HeaderSize() - 1] = std::byte{1};
  EXPECT_TRUE(SameRules(blob, other, GetParam()));
  other = blob;
  table.Find("OUTPUT")->rules = {RuleTo(capture::Redirect{15002})};
  EXPECT_FALSE(SameRules(blob, table.Build().value().blob, GetParam()));
  other.hook_entry[0] += 1;
  EXPECT_FALSE(SameRules(blob, other, GetParam()));
}

// Whatever the bytes are: a table that can be written, or none.
TEST_P(XtTableTest, DamagedTablesAreRefusedOrSound) {
  XtTable table = FreshTable();
  table.Create("A");
  table.Find("A")->rules = {RuleTo(capture::Redirect{15001}), RuleTo(capture::Return{})};
  table.Find("OUTPUT")->rules = {RuleTo(capture::Jump{"A"})};
  const XtBlob good = table.Build().value().blob;
  std::mt19937 random(1);  // NOLINT(cert-msc51-cpp): the same cases each time
  int refused = 0;
  for (int round = 0; round < 20'000; ++round) {
    XtBlob bad = good;
    for (auto changes = 1 + random() % 3; changes > 0; --changes) {
      bad.entries[random() % bad.entries.size()] = static_cast<std::byte>(random() & 0xff);
    }
    if (random() % 8 == 0) bad.entries.resize(random() % bad.entries.size());
    const auto parsed = XtTable::Parse(bad, GetParam());
    if (parsed) {
      EXPECT_TRUE(parsed->Build());
    } else {
      ++refused;
    }
  }
  EXPECT_GT(refused, 1'000);
}

INSTANTIATE_TEST_SUITE_P(Families, XtTableTest, testing::Values(Family::kIpv4, Family::kIpv6),
                         [](const auto& info) { return std::string(Name(info.param)); });

}  // namespace
}  // namespace sluice::iptables
