// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Rules changed behind our back are found and repaired; foreign rules stay as they
// are.

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

// Configurations that together use every table, every extension and a tree of chains.
class InitDrift : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
    Apply();
    wanted_ = TakeSnapshot(pod());
    wanted_rules_ = {RulesOf(pod(), Family::kIpv4), RulesOf(pod(), Family::kIpv6)};
  }

  const netns::Namespace& pod() const { return network_.pod(); }

  std::string Apply() {
    const auto result = RunCase(pod(), FindCase(GetParam()));
    EXPECT_EQ(result.exit_status, 0) << result.err;
    return result.err;
  }

  // After a change that must be found: checks that it is reported and repaired.
  void ExpectHealed(const std::string& change) {
    EXPECT_THAT(Apply(), HasSubstr("]: done (")) << change;
    EXPECT_EQ(TakeSnapshot(pod()), wanted_) << change;
  }
  // The same, faster, for a change of one family's rules.
  void ExpectHealed(const std::string& change, Family family) {
    EXPECT_THAT(Apply(), HasSubstr("]: done (")) << change;
    EXPECT_EQ(RulesOf(pod(), family), wanted_rules_[family == Family::kIpv6]) << change;
  }

  PodNetwork network_;
  Snapshot wanted_;
  std::array<std::string, 2> wanted_rules_;
};

INSTANTIATE_TEST_SUITE_P(, InitDrift,
                         testing::Values("everything", "tproxy-dns", "many-excluded-cidrs"),
                         [](const auto& info) { return TestName(info.param); });

// One Sluice chain, with its rules in the format of the backend's own program.
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

std::vector<SavedChain> NftChainsOf(const Snapshot& snapshot) {
  std::vector<SavedChain> chains;
  for (const auto& [where, text] : snapshot.tables) {
    if (!where.starts_with("nft ip")) continue;
    const Family family = where.starts_with("nft ip6") ? Family::kIpv6 : Family::kIpv4;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("\tchain ")) {
        chains.push_back({family, "sluice", line.substr(7, line.rfind(" {") - 7), {}});
      } else if (line.starts_with("\t\t") && !line.starts_with("\t\ttype ")) {
        // A large anonymous set takes several lines.
        if (line.starts_with("\t\t\t")) {
          chains.back().rules.back() += line;
        } else {
          chains.back().rules.push_back(line.substr(2));
        }
      }
    }
  }
  return chains;
}

// Ways to change a Sluice chain.
struct Editor {
  std::vector<SavedChain> (*chains)(const Snapshot& snapshot);
  void (*write)(const netns::Namespace& pod, const SavedChain& chain,
                const std::vector<std::string>& rules);
  const char* foreign_rule;
};

const Editor& EditorUnderTest() {
  static const Editor kXtables = {
      ChainsOf,
      [](const netns::Namespace& pod, const SavedChain& chain,
         const std::vector<std::string>& rules) {
        const bool v4 = chain.family == Family::kIpv4;
        std::string text = "*" + chain.table + "\n-F " + chain.name + "\n";
        for (const std::string& rule : rules) text += "-A " + chain.name + " " + rule + "\n";
        const auto result =
            RunCommand(pod, {.argv = {v4 ? "iptables-legacy-restore" : "ip6tables-legacy-restore",
                                      "--noflush", "-w"},
                             .input = text + "COMMIT\n"});
        EXPECT_EQ(result.exit_status, 0) << text << result.err;
      },
      "-p udp --dport 9 -j RETURN"};
  static const Editor kNftables = {NftChainsOf,
                                   [](const netns::Namespace& pod, const SavedChain& chain,
                                      const std::vector<std::string>& rules) {
                                     const std::string at =
                                         std::string(chain.family == Family::kIpv4 ? "ip" : "ip6") +
                                         " sluice " + chain.name;
                                     std::string text = "flush chain " + at + "\n";
                                     for (const std::string& rule : rules)
                                       text += "add rule " + at + " " + rule + "\n";
                                     Nft(pod, text);
                                   },
                                   "udp dport 9 counter return"};
  return TestsNftables() ? kNftables : kXtables;
}

TEST_P(InitDrift, RuleDeletedPermutedAppendedOrReplaced) {
  const Editor& editor = EditorUnderTest();
  const auto chains = editor.chains(wanted_);
  ASSERT_GE(chains.size(), 5U);
  for (const SavedChain& chain : chains) {
    SCOPED_TRACE(chain.table + " " + chain.name + " " + std::string(Name(chain.family)));
    ASSERT_FALSE(chain.rules.empty());
    const auto becomes = [&](const std::vector<std::string>& rules, const char* what) {
      editor.write(pod(), chain, rules);
      ExpectHealed(what, chain.family);
    };
    auto rules = chain.rules;
    rules.erase(rules.begin());
    becomes(rules, "a rule deleted");
    rules = chain.rules;
    rules.emplace_back(editor.foreign_rule);
    becomes(rules, "a rule appended");
    rules = chain.rules;
    rules.front() = editor.foreign_rule;
    becomes(rules, "a rule replaced");
    // The same rules in another order, which changes their effect.
    if (chain.rules.size() < 2 || chain.rules[0] == chain.rules[1]) continue;
    rules = chain.rules;
    std::swap(rules[0], rules[1]);
    becomes(rules, "two rules permuted");
  }
}

// Damage to the nat table: for iptables, and for nft in "ip sluice".
struct Damage {
  const char* what;
  std::vector<const char*> iptables;
  const char* nft;
};

TEST_P(InitDrift, JumpsAndChains) {
  const std::vector<Damage> kDamages = {
      {"a jump deleted", {"-D OUTPUT -j ISTIO_OUTPUT"}, "flush chain TABLE nat/OUTPUT"},
      {"a jump there twice",
       {"-A OUTPUT -j ISTIO_OUTPUT"},
       "add rule TABLE nat/OUTPUT counter jump nat/ISTIO_OUTPUT"},
      {"a jump from elsewhere",
       {"-A PREROUTING -p tcp -j ISTIO_REDIRECT"},
       "add chain TABLE nat/PREROUTING { type nat hook prerouting priority -99; }\n"
       "add rule TABLE nat/PREROUTING meta l4proto tcp jump nat/ISTIO_REDIRECT"},
      {"a chain left over", {"-N ISTIO_LEFT_OVER"}, "add chain TABLE nat/ISTIO_LEFT_OVER"},
      {"a chain emptied", {"-F ISTIO_OUTPUT"}, "flush chain TABLE nat/ISTIO_OUTPUT"},
      // Rules that Sluice cannot express, in a Sluice chain.
      {"an unknown match",
       {"-I ISTIO_OUTPUT 1 -m comment --comment foreign -j RETURN"},
       "insert rule TABLE nat/ISTIO_OUTPUT meta length 5 return"},
      {"a rule without a target",
       {"-I ISTIO_OUTPUT 1"},
       "insert rule TABLE nat/ISTIO_OUTPUT counter"},
      {"everything gone", {"-F OUTPUT", "-F", "-X"}, "delete table TABLE"}};
  for (const Family family : kFamilies) {
    SCOPED_TRACE(Name(family));
    for (const Damage& damage : kDamages) {
      if (TestsNftables()) {
        std::string commands = damage.nft;
        const std::string table = family == Family::kIpv4 ? "ip sluice" : "ip6 sluice";
        for (auto at = commands.find("TABLE"); at != std::string::npos;
             at = commands.find("TABLE")) {
          commands.replace(at, 5, table);
        }
        Nft(pod(), commands);
      } else {
        for (const char* const arguments : damage.iptables) {
          Iptables(pod(), family, std::string("-t nat ") + arguments);
        }
      }
      ExpectHealed(damage.what);
    }
  }
}

// `diff` reports, and changes nothing.
TEST_P(InitDrift, DiffTellsByItsExitCode) {
  CaptureCase asked = FindCase(GetParam());
  asked.args.insert(asked.args.begin(), "diff");
  const auto in_place = RunCase(pod(), asked);
  EXPECT_EQ(in_place.exit_status, 0) << in_place.err;
  EXPECT_EQ(in_place.out, "");
  if (TestsNftables()) {
    Nft(pod(), "flush chain ip sluice nat/ISTIO_REDIRECT");
  } else {
    Iptables(pod(), Family::kIpv4, "-t nat -D ISTIO_REDIRECT 1");
  }
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

// Foreign rules before and after ours, with their counters, survive a change of configuration and a
// clean-up.
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
      // Our jumps have counters of their own.
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
