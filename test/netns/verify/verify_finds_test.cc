// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// What `sluice-init verify` finds, and how it says it: every kind of error in the rules, and what
// only looks like one.
#include <stdlib.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/unique_fd.h"
#include "test/netns/verify/verify_fixture.h"
#include "test/support/capture_cases.h"
#include "test/support/command.h"

namespace sluice::testing_support {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;

// A change of the rules behind our back, the path that it breaks, and the expected report. The
// command is run with the iptables of both families.
struct Tampering {
  std::string name;
  std::vector<std::string> config;
  std::vector<std::string> commands;  // after "iptables-legacy -t "
  std::string path;
  std::string says;
};

class TamperingTest : public VerifyTest, public testing::WithParamInterface<Tampering> {};

TEST_P(TamperingTest, IsFoundAndTheRuleIsNamed) {
  const Tampering& chosen = GetParam();
  Words words = Usual();
  words.insert(words.end(), chosen.config.begin(), chosen.config.end());
  ASSERT_EQ(Init(words).exit_status, 0);
  ASSERT_EQ(Init(Verify(words)).exit_status, 0) << "before";
  for (const char* program : {"iptables-legacy", "ip6tables-legacy"}) {
    for (const std::string& command : chosen.commands) {
      Must({"sh", "-c", std::string(program) + " -t " + command});
    }
  }
  const std::string rules = Saved();
  const Traces before = Look();
  const auto result = Init(Verify(words, {"--probe-timeout", "300ms"}));
  EXPECT_EQ(result.exit_status, kInvalid) << result.err;
  const Checks checks = ChecksOf(result);
  for (const std::string family : {"IPv4 ", "IPv6 "}) {
    const auto found = checks.find(family + chosen.path);
    ASSERT_NE(found, checks.end()) << result.err;
    EXPECT_EQ(found->second.first, "failed") << found->second.second;
    EXPECT_THAT(found->second.second, HasSubstr(chosen.says));
  }
  EXPECT_EQ(Saved(), rules) << "verify changes no rules";
  EXPECT_EQ(Look(), before);
}

const std::vector<Tampering>& Tamperings() {
  static const std::vector<Tampering> all = {
      {"closed ports captured",
       {"--capture-listening"},
       {"nat -R ISTIO_IN_LISTENING 2 -p tcp -j REDIRECT --to-ports 15006"},
       "inbound where nobody listens",
       "should have been refused, since nobody listens there; the rule that should have matched"},
      {"open ports refused",
       {"--capture-listening"},
       {"nat -D ISTIO_IN_LISTENING 1"},
       "inbound",
       "the rule that should have matched"},
      {"inbound rule deleted",
       {},
       {"nat -D ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT"},
       "inbound",
       "-p tcp -j ISTIO_IN_REDIRECT, is missing"},
      {"jump to inbound deleted",
       {},
       {"nat -F PREROUTING"},
       "inbound",
       "nat PREROUTING rule 1: -p tcp -j ISTIO_INBOUND, is missing"},
      {"outbound jump deleted",
       {},
       {"nat -F OUTPUT"},
       "outbound",
       "nat OUTPUT rule 1: -j ISTIO_OUTPUT, is missing"},
      {"outbound port changed",
       {},
       {"nat -R ISTIO_REDIRECT 1 -p tcp -j REDIRECT --to-ports 15099"},
       "outbound",
       "nat ISTIO_REDIRECT rule 1: -p tcp -j REDIRECT --to-ports 15001, is missing: rule 1 is "
       "\"-p tcp -j REDIRECT --to-ports 15099\""},
      {"outbound to the inbound port",
       {},
       {"nat -R ISTIO_REDIRECT 1 -p tcp -j REDIRECT --to-ports 15006"},
       "outbound",
       "arrived at the inbound listener"},
      {"inbound to the outbound port",
       {},
       {"nat -R ISTIO_IN_REDIRECT 1 -p tcp -j REDIRECT --to-ports 15001"},
       "inbound",
       "arrived at the outbound listener"},
      {"redirect chain emptied",
       {},
       {"nat -F ISTIO_IN_REDIRECT"},
       "inbound",
       "nat ISTIO_IN_REDIRECT rule 1: -p tcp -j REDIRECT --to-ports 15006, is missing"},
      {"proxy's rule deleted",
       {},
       {"nat -D ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN"},
       "exempt: the proxy's uid 1337",
       "-m owner --uid-owner 1337 -j RETURN, is missing"},
      {"proxy's rule behind the capture",
       {},
       {"nat -D ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN",
        "nat -A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN"},
       "exempt: the proxy's uid 1337",
       "-m owner --uid-owner 1337 -j RETURN, is not in its place"},
      {"self-call behind the escape",
       {},
       {"nat -I ISTIO_OUTPUT 1 -m owner --uid-owner 1337 -j RETURN"},
       "self-call of the proxy's uid 1337",
       "is not in its place: rule 1 is"},
      {"excluded outbound port captured",
       {"-o", "22"},
       {"nat -D ISTIO_OUTPUT -p tcp --dport 22 -j RETURN"},
       "exempt: outbound port 22",
       "nat ISTIO_OUTPUT rule 1: -p tcp -m tcp --dport 22 -j RETURN, is missing"},
      {"excluded inbound port captured",
       {"-d", "8080"},
       {"nat -D ISTIO_INBOUND -p tcp --dport 8080 -j RETURN"},
       "exempt: inbound port 8080",
       "-p tcp -m tcp --dport 8080 -j RETURN, is missing"},
      {"tunnel port captured",
       {},
       {"nat -D ISTIO_INBOUND -p tcp --dport 15008 -j RETURN"},
       "exempt: tunnel port 15008",
       "--dport 15008 -j RETURN, is missing"},
      {"everything on lo captured",
       {},
       {"nat -D ISTIO_OUTPUT -o lo -j RETURN",
        "nat -I ISTIO_OUTPUT -o lo -p tcp -j ISTIO_REDIRECT"},
       "exempt: loopback",
       "-o lo -j RETURN, is missing"},
      {"a pod's call of itself captured",
       {},
       {"nat -D ISTIO_OUTPUT -o lo -j RETURN"},
       "exempt: the application's call of its own pod",
       "-o lo -j RETURN, is missing"},
      {"application's call captured",
       {},
       {"nat -I ISTIO_OUTPUT -o lo -p tcp -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT"},
       "exempt: the proxy's call of the application",
       "is not in its place: rule 1 is"},
      {"DNS over UDP lost",
       {"--redirect-dns", "--capture-all-dns"},
       {"nat -D ISTIO_OUTPUT_DNS -p udp --dport 53 -j REDIRECT --to-ports 15053"},
       "DNS over UDP",
       "-p udp -m udp --dport 53 -j REDIRECT --to-ports 15053, is missing"},
      {"DNS over TCP lost",
       {"--redirect-dns", "--capture-all-dns"},
       {"nat -D ISTIO_OUTPUT_DNS -p tcp --dport 53 -j REDIRECT --to-ports 15053"},
       "DNS over TCP",
       "-p tcp -m tcp --dport 53 -j REDIRECT --to-ports 15053, is missing"},
      {"zone of the query changed",
       {"--redirect-dns", "--capture-all-dns"},
       {"raw -D ISTIO_OUTPUT_DNS -p udp --dport 53 -j CT --zone 2"},
       "DNS over UDP",
       "its answer did not come back"},
      {"tproxy rule emptied",
       {"-m", "TPROXY"},
       {"mangle -F ISTIO_TPROXY"},
       "inbound",
       "mangle ISTIO_TPROXY rule 1: "},
      {"REDIRECT instead of TPROXY",
       {"-m", "TPROXY"},
       {"mangle -F ISTIO_TPROXY", "nat -A PREROUTING -p tcp -j REDIRECT --to-ports 15006"},
       "inbound",
       "where it was going cannot be told"},
      {"foreign rule before ours",
       {},
       {"nat -I PREROUTING -p tcp -j ACCEPT"},
       "inbound",
       "is in place: look for one that is not Sluice's, such as rule 1 of nat PREROUTING"},
      {"dropped by others",
       {},
       {"raw -I PREROUTING -i slprobe0 -j DROP"},
       "inbound",
       "got no answer, and was seen nowhere"},
  };
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, TamperingTest, testing::ValuesIn(Tamperings()),
                         [](const auto& info) { return TestName(info.param.name); });

TEST_F(VerifyTest, PolicyRoutingThatIsGoneIsNamed) {
  const Words words = Usual({"-m", "TPROXY"});
  ASSERT_EQ(Init(words).exit_status, 0);
  Must({"ip", "rule", "del", "priority", "13370"});
  Must({"ip", "-6", "rule", "del", "priority", "13370"});
  const auto result = Init(Verify(words, {"--probe-timeout", "300ms"}));
  EXPECT_EQ(result.exit_status, kInvalid) << result.err;
  const Checks checks = ChecksOf(result);
  EXPECT_EQ(checks.at("IPv4 policy routing").first, "failed");
  EXPECT_EQ(checks.at("IPv6 policy routing").first, "failed");
}

TEST_F(VerifyTest, FindsThatNothingIsInstalledAndInstallsNothing) {
  const auto result = Init(Verify(Usual()));
  EXPECT_EQ(result.exit_status, kInvalid);
  EXPECT_THAT(ChecksOf(result).at("IPv4 outbound").second,
              AllOf(HasSubstr("left the pod unchanged"),
                    HasSubstr("nat OUTPUT rule 1: -j ISTIO_OUTPUT, is missing")));
  EXPECT_EQ(Saved(), "") << "not even an empty table";
}

TEST_F(VerifyTest, ARuleAboutAnInterfaceOfThePodIsMet) {
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  const auto before = Init(Verify(Usual()));
  ASSERT_EQ(before.exit_status, 0) << before.err;
  EXPECT_EQ(ChecksOf(before).at("IPv4 outbound over eth0").first, "ok");
  EXPECT_EQ(ChecksOf(before).at("IPv6 outbound over eth0").first, "ok");
  EXPECT_EQ(ChecksOf(before).at("IPv4 inbound over eth0").first, "not checked");
  for (const char* program : {"iptables-legacy", "ip6tables-legacy"}) {
    Must({program, "-t", "nat", "-I", "OUTPUT", "-o", "eth0", "-j", "ACCEPT"});
  }
  const auto after = Init(Verify(Usual(), {"--probe-timeout", "300ms"}));
  EXPECT_EQ(after.exit_status, kInvalid) << after.err;
  const Checks checks = ChecksOf(after);
  for (const std::string family : {"IPv4 ", "IPv6 "}) {
    EXPECT_EQ(checks.at(family + "outbound").first, "ok");
    EXPECT_EQ(checks.at(family + "outbound over eth0").first, "failed");
    EXPECT_EQ(checks.at(family + "foreign rules: nat OUTPUT rule 1").first, "failed");
  }
}

TEST_F(VerifyTest, AFilterThatKnowsThePodsInterfacesIsNoFailure) {
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  for (const char* program : {"iptables-legacy", "ip6tables-legacy"}) {
    Must({program, "-A", "INPUT", "-i", "eth0", "-j", "ACCEPT"});
    Must({program, "-A", "INPUT", "-i", "lo", "-j", "ACCEPT"});
    Must({program, "-P", "INPUT", "DROP"});
  }
  const auto result = Init(Verify(Usual(), {"--probe-timeout", "300ms"}));
  EXPECT_EQ(result.exit_status, 0) << result.err;
  const Checks checks = ChecksOf(result);
  for (const std::string path : {"IPv4 inbound", "IPv6 exempt: tunnel port 15008"}) {
    EXPECT_EQ(checks.at(path).first, "not checked");
    EXPECT_THAT(checks.at(path).second, HasSubstr("iptables -S INPUT"));
  }
}

TEST_F(VerifyTest, AFilterOfWhatLeavesIsNoFailureUnlessNothingLeaves) {
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  for (const char* program : {"iptables-legacy", "ip6tables-legacy"}) {
    Must({program, "-A", "OUTPUT", "-o", "eth0", "-j", "ACCEPT"});
    Must({program, "-A", "OUTPUT", "-o", "lo", "-j", "ACCEPT"});
    Must({program, "-P", "OUTPUT", "DROP"});
  }
  const auto result = Init(Verify(Usual(), {"--probe-timeout", "300ms"}));
  EXPECT_EQ(result.exit_status, 0) << result.err;
  const Checks checks = ChecksOf(result);
  for (const std::string path : {"IPv4 outbound", "IPv6 exempt: the proxy's uid 1337"}) {
    EXPECT_EQ(checks.at(path).first, "not checked");
    EXPECT_THAT(checks.at(path).second, HasSubstr("iptables -S OUTPUT"));
  }
  EXPECT_EQ(checks.at("IPv4 outbound over eth0").first, "ok");

  for (const char* program : {"iptables-legacy", "ip6tables-legacy"}) {
    Must({program, "-D", "OUTPUT", "-o", "eth0", "-j", "ACCEPT"});
  }
  const auto closed = Init(Verify(Usual(), {"--probe-timeout", "300ms"}));
  EXPECT_EQ(closed.exit_status, kInvalid);
  EXPECT_EQ(ChecksOf(closed).at("IPv4 outbound over eth0").first, "failed");
}

// Probes may wait long; the lock may be the node's.
TEST_F(VerifyTest, LeavesTheLockOfIptablesToOthers) {
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  std::string lock = (std::filesystem::temp_directory_path() / "sluice-lock-XXXXXX").string();
  const UniqueFd made(::mkstemp(lock.data()));
  ASSERT_TRUE(made);
  Must({"iptables-legacy", "-t", "raw", "-I", "PREROUTING", "-i", "slprobe0", "-j", "DROP"});
  Command command = InitCommand(Verify(Usual(), {"--probe-timeout", "100s"}));
  command.environment = {"XTABLES_LOCKFILE=" + lock};
  Process process(pod(), command);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!LinkIsThere() && std::chrono::steady_clock::now() < deadline) {
  }
  ASSERT_TRUE(LinkIsThere());
  const CommandResult other =
      RunCommand(pod(), {.argv = {"iptables-legacy", "-A", "INPUT", "-s", "203.0.113.1"},
                         .environment = {"XTABLES_LOCKFILE=" + lock}});
  EXPECT_EQ(other.exit_status, 0) << "without -w it does not wait: " << other.err;
  process.Signal(SIGKILL);
  process.Wait(std::chrono::seconds(60));
  std::filesystem::remove(lock);
}

TEST_F(VerifyTest, SkipRuleApplyValidatesWhatIsThere) {
  const auto result = Init(Usual({"--skip-rule-apply", "--run-validation"}));
  EXPECT_EQ(result.exit_status, kInvalid);
  EXPECT_EQ(Saved(), "");
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  const std::string rules = Saved();
  EXPECT_EQ(Init(Usual({"--skip-rule-apply", "--run-validation"})).exit_status, 0);
  EXPECT_EQ(Saved(), rules);
}

TEST_F(VerifyTest, ReportForPeopleNamesThePathAndTheRule) {
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  Must({"iptables-legacy", "-t", "nat", "-F", "ISTIO_REDIRECT"});
  const auto result = Init(Verify({"-u", "1337", "-i", "*", "-b", "*"}));
  EXPECT_EQ(result.exit_status, kInvalid);
  EXPECT_THAT(result.err, HasSubstr("error: IPv4 outbound: failed: "));
  EXPECT_THAT(result.err, HasSubstr("info: IPv6 outbound: ok: "));
  EXPECT_THAT(result.err, HasSubstr("2 of "));
  EXPECT_THAT(result.err, HasSubstr("(exit code 126)"));
}

TEST_F(VerifyTest, TimeoutBoundsEachCheck) {
  ASSERT_EQ(Init(Usual({"--ipv6", "off"})).exit_status, 0);
  Must({"iptables-legacy", "-t", "raw", "-I", "OUTPUT", "-s", "198.18.0.0/15", "-j", "DROP"});
  const auto result = Init(Verify(Usual({"--ipv6", "off"}), {"--probe-timeout", "100ms"}));
  EXPECT_EQ(result.exit_status, kInvalid);
  const auto failed = PathsWith(ChecksOf(result), "failed").size();
  EXPECT_GE(failed, 5U) << result.err;
  // The default of 5 s would take many times as long, even on a busy machine.
  EXPECT_LT(result.wall, failed * milliseconds(2500));
}

}  // namespace
}  // namespace sluice::testing_support
