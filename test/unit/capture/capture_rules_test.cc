// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// The policy: every named configuration gives the rules of its golden texts. After an intended
// change, SLUICE_UPDATE_GOLDENS=1 rewrites them; read the diff before committing it.

#include "capture/capture_rules.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "capture/evaluate.h"
#include "iptables/compile.h"
#include "iptables/restore_text.h"
#include "nftables/program/compile.h"
#include "nftables/text.h"
#include "test/support/capture_cases.h"

namespace sluice::capture {
namespace {

using testing_support::CaptureCase;
using testing_support::CaptureCases;
using testing_support::ConfigOf;
using testing_support::FindCase;

// What each backend compiles a configuration to, in the format of its restore program.
struct Form {
  const char* suffix;
  std::string (*text)(const RuleSet& rules);
};
constexpr Form kForms[] = {
    {".v4.txt",
     [](const RuleSet& rules) { return iptables::RestoreText(iptables::Compile(rules.v4)); }},
    {".v6.txt",
     [](const RuleSet& rules) { return iptables::RestoreText(iptables::Compile(rules.v6)); }},
    {".nft.txt", [](const RuleSet& rules) { return nftables::NftText(nftables::Compile(rules)); }},
};

std::filesystem::path GoldenPath(const CaptureCase& chosen, const Form& form) {
  return std::filesystem::path(SLUICE_GOLDEN_DIR) / (chosen.name + form.suffix);
}

bool Updating() {
  const char* const update = std::getenv("SLUICE_UPDATE_GOLDENS");
  return update != nullptr && std::string_view(update) == "1";
}

class Golden : public testing::TestWithParam<CaptureCase> {};

TEST_P(Golden, RulesAreThoseOfTheGoldenText) {
  const RuleSet rules = BuildRules(ConfigOf(GetParam()));
  for (const Form& form : kForms) {
    const auto path = GoldenPath(GetParam(), form);
    const std::string text = form.text(rules);
    if (Updating()) {
      std::ofstream(path) << text;
      continue;
    }
    std::ifstream file(path);
    ASSERT_TRUE(file) << "no " << path << "; SLUICE_UPDATE_GOLDENS=1 writes it";
    EXPECT_EQ(text, std::string(std::istreambuf_iterator<char>(file), {})) << path;
  }
}

INSTANTIATE_TEST_SUITE_P(, Golden, testing::ValuesIn(CaptureCases()), [](const auto& info) {
  return testing_support::TestName(info.param.name);
});

TEST(GoldenDirectory, HoldsNothingButTheCases) {
  std::set<std::string> expected;
  for (const CaptureCase& chosen : CaptureCases()) {
    for (const Form& form : kForms) {
      EXPECT_TRUE(expected.insert(GoldenPath(chosen, form).filename()).second)
          << chosen.name << " is there twice";
    }
  }
  for (const auto& file : std::filesystem::directory_iterator(SLUICE_GOLDEN_DIR)) {
    EXPECT_TRUE(expected.contains(file.path().filename())) << file.path();
  }
}

// Properties that hold for every configuration.
class EveryCase : public testing::TestWithParam<CaptureCase> {
 protected:
  template <typename Visit>
  void ForEachTable(Visit visit) const {
    const RuleSet rules = BuildRules(ConfigOf(GetParam()));
    for (const Family family : kFamilies) {
      for (const Table table : kTables) {
        SCOPED_TRACE(std::string(Name(family)) + " " + std::string(Name(table)));
        visit(family, rules.family(family).table(table));
      }
    }
  }
};

TEST_P(EveryCase, OwnsItsChainsAndBuiltInChainsOnlyJump) {
  ForEachTable([](Family, const TableRules& table) {
    std::set<std::string> names;
    for (const Chain& chain : table.chains) {
      EXPECT_TRUE(IsOwnedChain(chain.name)) << chain.name;
      EXPECT_LE(chain.name.size(), 28U) << chain.name;  // XT_EXTENSION_MAXNAMELEN
      EXPECT_TRUE(names.insert(chain.name).second) << chain.name << " is there twice";
    }
    for (const EntryJump& jump : table.jumps) {
      const auto* target = std::get_if<Jump>(&jump.rule.target);
      ASSERT_NE(target, nullptr) << jump.rule;
      EXPECT_TRUE(names.contains(target->chain)) << jump.rule;
    }
  });
}

TEST_P(EveryCase, LeadsToChainsThatAreThereAndNeverBack) {
  ForEachTable([](Family, const TableRules& table) {
    std::map<std::string, std::set<std::string>> leads;
    for (const Chain& chain : table.chains) {
      for (const Rule& rule : chain.rules) {
        if (const auto* jump = std::get_if<Jump>(&rule.target))
          leads[chain.name].insert(jump->chain);
        if (const auto* to = std::get_if<Goto>(&rule.target)) leads[chain.name].insert(to->chain);
      }
    }
    // A chain is done when all chains that it leads to are done; a loop never is (ELOOP).
    std::set<std::string> done;
    for (std::size_t round = 0; round <= table.chains.size(); ++round) {
      for (const Chain& chain : table.chains) {
        const auto& to = leads[chain.name];
        if (std::ranges::includes(done, to)) done.insert(chain.name);
      }
    }
    EXPECT_EQ(done.size(), table.chains.size()) << "a loop, or a jump to a chain that is missing";
  });
}

// An IPv4 range must never get into the IPv6 table.
TEST_P(EveryCase, HasAddressesOfItsFamilyOnly) {
  ForEachTable([](Family family, const TableRules& table) {
    for (const Chain& chain : table.chains) {
      for (const Rule& rule : chain.rules) {
        EXPECT_EQ(rule.source ? rule.source->value.family() : family, family) << rule;
        EXPECT_EQ(rule.destination ? rule.destination->value.family() : family, family) << rule;
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(, EveryCase, testing::ValuesIn(CaptureCases()), [](const auto& info) {
  return testing_support::TestName(info.param.name);
});

TEST(BuildRules, GivesNoIpv6RulesWhereThereIsNone) {
  const RuleSet rules = BuildRules(ConfigOf(FindCase("no-ipv6")));
  EXPECT_FALSE(rules.v4.empty());
  EXPECT_TRUE(rules.v6.empty());
  EXPECT_EQ(rules.v6.tables.size(), std::size(kTables));
}

// fe80::1%eth0 is only valid on eth0, which a proxy does not know.
TEST(LinkLocal, IsLeftAloneInIpv6Only) {
  for (const char* const name :
       {"seed-dual-stack", "tproxy-dual", "virt-and-cidrs", "everything"}) {
    const RuleSet rules = BuildRules(ConfigOf(FindCase(name)));
    const Packet out{.source = IpAddress::Parse("fe80::2"),
                     .destination = IpAddress::Parse("fe80::1"),
                     .destination_port = 80,
                     .out_interface = "eth0",
                     .uid = 1000,
                     .gid = 1000};
    EXPECT_EQ(Evaluate(rules.v6, Hook::kOutput, out).verdict, Verdict(Passes{})) << name;
    Packet in = out;
    in.out_interface.clear();
    in.uid = in.gid = std::nullopt;
    for (const char* const interface : {"eth0", "eth1", "tap0"}) {
      in.in_interface = interface;
      EXPECT_EQ(Evaluate(rules.v6, Hook::kPrerouting, in).verdict, Verdict(Passes{}))
          << name << interface;
    }
  }
}

TEST(PolicyRouting, IsForTproxyThatCapturesSomething) {
  EXPECT_EQ(BuildPolicyRouting(ConfigOf(FindCase("defaults"))), std::nullopt);
  EXPECT_EQ(BuildPolicyRouting(ConfigOf(FindCase("tproxy-inbound-none"))), std::nullopt);
  const auto routing = BuildPolicyRouting(ConfigOf(FindCase("tproxy-custom-mark")));
  ASSERT_TRUE(routing);
  EXPECT_EQ(routing->mark.value, 4660U);
  EXPECT_EQ(routing->route_table, 200U);
}

TEST(MarksOf, AreTheLowestBitsThatHoldBothValues) {
  CaptureConfig config;
  const auto mask_for = [&config](std::uint32_t mark) {
    config.tproxy_mark = mark;
    const TproxyMarks marks = MarksOf(config);
    EXPECT_EQ(marks.inbound.value, mark);
    EXPECT_EQ(marks.outbound.value, 1338U);
    EXPECT_EQ(marks.inbound.mask, marks.outbound.mask);
    return marks.inbound.mask;
  };
  EXPECT_EQ(mask_for(1), 0x7ffU);
  EXPECT_EQ(mask_for(1337), 0x7ffU);
  EXPECT_EQ(mask_for(0x800), 0xfffU);
  EXPECT_EQ(mask_for(0xffffffff), 0xffffffffU);
}

}  // namespace
}  // namespace sluice::capture
