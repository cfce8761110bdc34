// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Rules that somebody has changed behind our back are found, and made right again; what is not ours
// stays as it is.

#include <array>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "capture/rule.h"
#include "netns/route_socket.h"
#include "test/support/capture_cases.h"
#include "test/support/init_program.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {
namespace {

using capture::kFamilies;
using testing::HasSubstr;

// The configurations that together use every table, every extension and a tree of chains.
class InitDrift : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
    Apply();
    wanted_ = TakeSnapshot(pod());
    wanted_rules_ = {SavedRules(pod(), Family::kIpv4), SavedRules(pod(), Family::kIpv6)};
  }

  const netns::Namespace& pod() const { return network_.pod(); }

  std::string Apply() {
    const auto result = RunCase(pod(), FindCase(GetParam()));
    EXPECT_EQ(result.exit_status, 0) << result.err;
    return result.err;
  }

  // After a change that must be found: that is said, and it is healed.
  void ExpectHealed(const std::string& change) {
    EXPECT_THAT(Apply(), HasSubstr("]: done (")) << change;
    EXPECT_EQ(TakeSnapshot(pod()), wanted_) << change;
  }
  // The same, quicker, for a change of one family's rules.
  void ExpectHealed(const std::string& change, Family family) {
    EXPECT_THAT(Apply(), HasSubstr("]: done (")) << change;
    EXPECT_EQ(SavedRules(pod(), family), wanted_rules_[family == Family::kIpv6]) << change;
  }

  PodNetwork network_;
  Snapshot wanted_;
  std::array<std::string, 2> wanted_rules_;
};

INSTANTIATE_TEST_SUITE_P(, InitDrift,
                         testing::Values("everything", "tproxy-dns", "many-excluded-cidrs"),
                         [](const auto& info) { return TestName(info.param); });

// One chain of ours, with its rules as iptables-save writes them behind "-A CHAIN ".
struct SavedChain {
  Family family;
  std::string table;
  std::string name;
  std::vector<std::string> rules;
};

std::vector<SavedChain> ChainsOf(const Snapshot& snapshot) {
  std::vector<SavedChain> chains;
  for (const auto& [where, text] : snapshot.tables) {
    const Family family = where.starts_with("v4") ? Family::kIpv4 : Family::kIpv6;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with(":ISTIO_")) {
        chains.push_back({family, where.substr(3), line.substr(1, line.find(' ') - 1), {}});
      }
      for (SavedChain& chain : chains) {
        const std::string start = "-A " + chain.name + " ";
        if (chain.family == family && chain.table == where.substr(3) && line.starts_with(start)) {
          chain.rules.push_back(line.substr(start.size()));
        }
      }
    }
  }
  return chains;
}

TEST_P(InitDrift, RuleDeletedPermutedAppendedOrReplaced) {
  for (const SavedChain& chain : ChainsOf(wanted_)) {
    SCOPED_TRACE(chain.table + " " + chain.name + " " + std::string(Name(chain.family)));
    ASSERT_FALSE(chain.rules.empty());
    const auto edit = [&](const std::string& arguments) {
      Iptables(pod(), chain.family, "-t " + chain.table + " " + arguments);
    };
    edit("-D " + chain.name + " 1");
    ExpectHealed("a rule deleted", chain.family);
    edit("-A " + chain.name + " -p udp --dport 9 -j RETURN");
    ExpectHealed("a rule appended", chain.family);
    edit("-R " + chain.name + " 1 -p tcp --dport 9 -j RETURN");
    ExpectHealed("a rule replaced", chain.family);
    // As many rules, and the same ones: only the order differs, which changes what they do.
    if (chain.rules.size() < 2 || chain.rules[0] == chain.rules[1]) continue;
    edit("-D " + chain.name + " 1");
    edit("-I " + chain.name + " 2 " + chain.rules[0]);
    ExpectHealed("two rules permuted", chain.family);
  }
}

TEST_P(InitDrift, JumpsAndChains) {
  for (const Family family : kFamilies) {
    SCOPED_TRACE(Name(family));
    const auto edit = [&](const std::string& arguments) {
      Iptables(pod(), family, "-t nat " + arguments);
    };
    edit("-D OUTPUT -j ISTIO_OUTPUT");
    ExpectHealed("a jump deleted");
    edit("-A OUTPUT -j ISTIO_OUTPUT");
    ExpectHealed("a jump there twice");
    edit("-A PREROUTING -p tcp -j ISTIO_REDIRECT");
    ExpectHealed("a jump from elsewhere");
    edit("-N ISTIO_LEFT_OVER");
    ExpectHealed("a chain left over");
    edit("-F ISTIO_OUTPUT");
    ExpectHealed("a chain emptied");
    // A rule that Sluice cannot express, in a chain of ours.
    edit("-I ISTIO_OUTPUT 1 -m comment --comment foreign -j RETURN");
    ExpectHealed("an unknown match");
    edit("-I ISTIO_OUTPUT 1");
    ExpectHealed("a rule without a target");
    edit("-F OUTPUT");
    edit("-F");
    edit("-X");
    ExpectHealed("everything gone");
  }
}

// `diff` tells, and changes nothing.
TEST_P(InitDrift, DiffTellsByItsExitCode) {
  CaptureCase asked = FindCase(GetParam());
  asked.args.insert(asked.args.begin(), "diff");
  const auto in_place = RunCase(pod(), asked);
  EXPECT_EQ(in_place.exit_status, 0) << in_place.err;
  EXPECT_EQ(in_place.out, "");
  Iptables(pod(), Family::kIpv4, "-t nat -D ISTIO_REDIRECT 1");
  const Snapshot before = TakeSnapshot(pod());
  const auto drift = RunCase(pod(), asked);
  EXPECT_EQ(drift.exit_status, 10) << drift.err;
  EXPECT_THAT(drift.out, HasSubstr("+-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001"));
  EXPECT_EQ(TakeSnapshot(pod()), before);
}

TEST_P(InitDrift, AddressAndPolicyRouting) {
  netns::RouteSocket socket(pod());
  socket.RemoveAddress("lo", netns::InterfaceAddress::Parse("::6"));
  ExpectHealed("the address gone");
  for (const netns::PolicyRule& rule : wanted_.policy_rules) {
    if (rule.mask == 0) continue;
    socket.RemoveRule(rule);
    ExpectHealed("a policy rule gone");
    netns::PolicyRule other = rule;
    other.mark += 1;
    socket.AddRule(other);
    ExpectHealed("another mark at our priority");
  }
  for (const netns::Route& route : wanted_.routes) {
    if (route.table != 133) continue;
    socket.RemoveRoute(route);
    ExpectHealed("a route gone");
  }
}

// Rules of others before and after ours, with their counters, through a change of configuration and
// a clean-up.
TEST_P(InitDrift, ForeignRulesKeepOrderAndCounters) {
  for (const Family family : kFamilies) {
    for (const char* rule :
         {"-t nat -I OUTPUT 1 -p tcp --dport 1 -j ACCEPT -c 11 111",
          "-t nat -A OUTPUT -p tcp --dport 2 -j ACCEPT -c 22 222",
          "-t nat -I PREROUTING 1 -p tcp --dport 3 -j ACCEPT -c 33 333", "-t nat -N FOREIGN",
          "-t nat -A FOREIGN -p tcp --dport 4 -j RETURN -c 44 444",
          "-t nat -A PREROUTING -j FOREIGN -c 55 555"}) {
      Iptables(pod(), family, rule);
    }
  }
  const auto positions = [&](Family family) {
    const auto saved = TakeSnapshot(pod(), WithCounters::kYes);
    std::string text = saved.tables.at(family == Family::kIpv4 ? "v4 nat" : "v6 nat");
    std::istringstream lines(text);
    std::vector<std::string> found;
    for (std::string line; std::getline(lines, line);) {
      const auto rule = line.find("-A ");
      if (rule == std::string::npos || line.find("-A ISTIO_") != std::string::npos) continue;
      // Our jumps count packets of their own.
      found.push_back(line.find("-j ISTIO_") == std::string::npos ? line : line.substr(rule));
    }
    return found;
  };
  const std::vector<std::string> expected = {
      "[33:333] -A PREROUTING -p tcp -m tcp --dport 3 -j ACCEPT",
      "-A PREROUTING -p tcp -j ISTIO_INBOUND",
      "[55:555] -A PREROUTING -j FOREIGN",
      "[11:111] -A OUTPUT -p tcp -m tcp --dport 1 -j ACCEPT",
      "-A OUTPUT -j ISTIO_OUTPUT",
      "[22:222] -A OUTPUT -p tcp -m tcp --dport 2 -j ACCEPT",
      "[44:444] -A FOREIGN -p tcp -m tcp --dport 4 -j RETURN"};
  std::vector<std::string> only_foreign;
  for (const std::string& line : expected) {
    if (line.find("ISTIO_") == std::string::npos) only_foreign.push_back(line);
  }
  const bool inbound_in_nat = GetParam() != "tproxy-dns";
  for (const Family family : kFamilies) {
    EXPECT_TRUE(!inbound_in_nat || positions(family) == expected);
  }
  for (const char* other : {"port-ranges", "defaults", "seed-dual-stack"}) {
    const auto result = RunCase(pod(), FindCase(other));
    EXPECT_EQ(result.exit_status, 0) << result.err;
  }
  RunInit(pod(), {"--cleanup-only"});
  for (const Family family : kFamilies) EXPECT_EQ(positions(family), only_foreign);
}

}  // namespace
}  // namespace sluice::testing_support
