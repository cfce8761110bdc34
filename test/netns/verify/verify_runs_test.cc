// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Where and how verification runs: with few capabilities, without root, killed, beside a proxy.
#include <linux/capability.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <initializer_list>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "netns/route_socket.h"
#include "test/netns/verify/verify_fixture.h"
#include "test/support/capture_cases.h"
#include "test/support/command.h"
#include "test/support/connection.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST_F(VerifyTest, NeedsNoMoreThanAnInitContainerHas) {
  Command command =
      InitCommand(Usual({"--redirect-dns", "--capture-all-dns", "-d", "8080", "--run-validation"}));
  command.capabilities = {CAP_NET_ADMIN, CAP_NET_RAW};
  const auto result = RunCommand(pod(), command);
  ASSERT_EQ(result.exit_status, 0) << result.err;
  const Checks checks = ChecksOf(result);
  for (const std::string family : {"IPv4 ", "IPv6 "}) {
    for (const std::string path : {"inbound", "outbound", "DNS over UDP", "DNS over TCP",
                                   "exempt: inbound port 8080", "exempt: loopback"}) {
      EXPECT_EQ(checks.at(family + path).first, "ok") << checks.at(family + path).second;
    }
    const auto& proxy = checks.at(family + "exempt: the proxy's uid 1337");
    EXPECT_EQ(proxy.first, "not checked");
    EXPECT_THAT(proxy.second, HasSubstr("needs CAP_SETUID"));
  }
}

TEST_F(VerifyTest, TheProxyItselfCanTryItsOwnPaths) {
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  Command command = InitCommand(Verify(Usual()));
  command.who = kProxy;
  command.capabilities = {CAP_NET_ADMIN, CAP_NET_RAW};
  const auto result = RunCommand(pod(), command);
  ASSERT_EQ(result.exit_status, 0) << result.err;
  const Checks checks = ChecksOf(result);
  EXPECT_EQ(checks.at("IPv4 outbound").first, "not checked") << "nobody else can be played";
}

TEST_F(VerifyTest, WithoutACapabilityItDoesTheRestAndSaysWhich) {
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  Command command = InitCommand(Verify(Usual()));
  command.capabilities = {CAP_NET_ADMIN};
  const Traces before = Look();
  const auto result = RunCommand(pod(), command);
  EXPECT_EQ(result.exit_status, 0) << result.err;
  const Checks checks = ChecksOf(result);
  EXPECT_EQ(checks.at("IPv4 outbound").first, "ok") << checks.at("IPv4 outbound").second;
  EXPECT_EQ(checks.at("IPv4 inbound").first, "not checked");
  EXPECT_THAT(checks.at("IPv4 inbound").second, HasSubstr("CAP_NET_RAW"));
  EXPECT_EQ(Look(), before);
}

// As Istio's CNI mode starts the validation container.
class UnprivilegedTest : public VerifyTest {
 protected:
  CommandResult Validate(Credentials who, std::initializer_list<std::string> more = {}) const {
    Words words = Usual({"--run-validation", "--skip-rule-apply"});
    words.insert(words.end(), more);
    Command command = InitCommand(words);
    command.who = who;
    command.capabilities.emplace();
    return RunCommand(pod(), command);
  }
};

TEST_F(UnprivilegedTest, TheProxysUidTriesWhatItCanFromInside) {
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  const Traces before = Look();
  const auto result = Validate(kProxy);
  ASSERT_EQ(result.exit_status, 0) << result.err;
  const Checks checks = ChecksOf(result);
  for (const std::string family : {"IPv4 ", "IPv6 "}) {
    for (const std::string path :
         {"self-call of the proxy's uid 1337", "exempt: the proxy's uid 1337",
          "exempt: the proxy's call of the application"}) {
      EXPECT_EQ(checks.at(family + path).first, "ok") << checks.at(family + path).second;
    }
    for (const std::string path : {"inbound", "outbound", "exempt: tunnel port 15008"}) {
      EXPECT_EQ(checks.at(family + path).first, "not checked");
      EXPECT_THAT(checks.at(family + path).second, HasSubstr("needs CAP_"));
    }
  }
  EXPECT_EQ(Look(), before);
}

TEST_F(UnprivilegedTest, AnApplicationTriesItsOwnPaths) {
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  const auto result = Validate(kApplication);
  ASSERT_EQ(result.exit_status, 0) << result.err;
  const Checks checks = ChecksOf(result);
  for (const std::string family : {"IPv4 ", "IPv6 "}) {
    for (const std::string path :
         {"outbound", "exempt: loopback", "exempt: the application's call of its own pod"}) {
      EXPECT_EQ(checks.at(family + path).first, "ok") << checks.at(family + path).second;
    }
    EXPECT_EQ(checks.at(family + "exempt: the proxy's uid 1337").first, "not checked");
  }
}

TEST_F(UnprivilegedTest, FindsThatNothingIsInstalled) {
  const auto result = Validate(kProxy, {"--probe-timeout", "300ms"});
  EXPECT_EQ(result.exit_status, kInvalid) << result.err;
  const Checks checks = ChecksOf(result);
  EXPECT_THAT(checks.at("IPv4 self-call of the proxy's uid 1337").second,
              AllOf(HasSubstr("the rule that should have matched is nat ISTIO_IN_REDIRECT rule 1"),
                    HasSubstr("cannot be read without CAP_NET_ADMIN and CAP_NET_RAW")));
  EXPECT_EQ(Validate(kApplication, {"--probe-timeout", "300ms"}).exit_status, kInvalid);
}

TEST_F(UnprivilegedTest, FindsThatTheProxyIsCaptured) {
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  for (const char* program : {"iptables-legacy", "ip6tables-legacy"}) {
    Must({program, "-t", "nat", "-D", "ISTIO_OUTPUT", "-m", "owner", "--uid-owner", "1337", "-j",
          "RETURN"});
    Must({program, "-t", "nat", "-D", "ISTIO_OUTPUT", "-m", "owner", "--gid-owner", "1337", "-j",
          "RETURN"});
  }
  const auto result = Validate(kProxy);
  EXPECT_EQ(result.exit_status, kInvalid) << result.err;
  const Checks checks = ChecksOf(result);
  EXPECT_THAT(checks.at("IPv4 exempt: the proxy's uid 1337").second,
              HasSubstr("arrived at the outbound listener"));
  EXPECT_EQ(checks.at("IPv6 exempt: the proxy's uid 1337").first, "failed");
}

TEST_F(VerifyTest, PortOfTheProxyInUseIsSaid) {
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  const Listeners proxy(pod(), {{.port = 15006}});
  const auto result = Init(Verify(Usual()));
  EXPECT_EQ(result.exit_status, 1) << result.err;
  EXPECT_THAT(result.err, AllOf(HasSubstr("0.0.0.0:15006"), HasSubstr("in use"),
                                HasSubstr("the proxy runs already")));
  EXPECT_FALSE(LinkIsThere());
}

// The run after a killed one, and how it ends.
struct NextRun {
  std::string name;
  Words words;
};

class KilledRunTest : public VerifyTest, public testing::WithParamInterface<NextRun> {};

TEST_P(KilledRunTest, WhatItLeftGoesWithTheNextRun) {
  ASSERT_EQ(Init(Usual()).exit_status, 0);
  const Traces before = Look();
  // It waits for this one, and is killed in the middle.
  Must({"iptables-legacy", "-t", "raw", "-I", "PREROUTING", "-i", "slprobe0", "-j", "DROP"});
  Process process(pod(), InitCommand(Verify(Usual(), {"--probe-timeout", "100s"})));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  const auto ready = [&] {
    const auto routes = netns::RouteSocket(pod()).Routes(Family::kIpv4);
    return std::ranges::any_of(routes, [](const netns::Route& route) {
      return !route.next_hops.empty() && route.next_hops.front().device == "slprobe0";
    });
  };
  while (!ready() && std::chrono::steady_clock::now() < deadline) {
  }
  // No other run removes it while its run is alive.
  EXPECT_EQ(Init({"show"}).exit_status, 0);
  EXPECT_TRUE(LinkIsThere());
  process.Signal(SIGKILL);
  EXPECT_EQ(process.Wait(std::chrono::seconds(60)).exit_status, 128 + SIGKILL);
  ASSERT_TRUE(LinkIsThere());
  Must({"iptables-legacy", "-t", "raw", "-D", "PREROUTING", "-i", "slprobe0", "-j", "DROP"});
  // Other tests sometimes hold the machine's iptables lock, and this one must not wait for it.
  Command next = InitCommand(GetParam().words);
  next.environment = {"XTABLES_LOCKFILE=/nonexistent"};
  const auto healed = RunCommand(pod(), next);
  EXPECT_EQ(healed.exit_status, 0) << healed.err;
  EXPECT_EQ(Look(), before);
}

INSTANTIATE_TEST_SUITE_P(All, KilledRunTest,
                         testing::ValuesIn(std::vector<NextRun>{{"apply", Usual()},
                                                                {"clean up", {"--cleanup-only"}},
                                                                {"diff", Diff(Usual())},
                                                                {"show", {"show"}},
                                                                {"verify", Verify(Usual())}}),
                         [](const auto& info) { return TestName(info.param.name); });

TEST_F(VerifyTest, NothingLeavesThePodWhenTheRulesAreBroken) {
  // Counts, outside, each packet from the pod to the probed addresses.
  const netns::Namespace& outside = network_->outside();
  const std::vector<std::string> probed = {"198.51.100.1", "203.0.113.9"};
  for (const std::string& address : probed) {
    ASSERT_EQ(RunCommand(outside, {.argv = {"iptables-legacy", "-t", "raw", "-A", "PREROUTING",
                                            "-d", address}})
                  .exit_status,
              0);
  }
  const auto heard = [&] {
    return RunCommand(outside, {.argv = {"iptables-legacy", "-t", "raw", "-S", "PREROUTING", "-v"}})
        .out;
  };
  EXPECT_THAT(heard(), Not(HasSubstr("-c 1 ")));
  // Nothing is installed, so every packet goes to its destination.
  const auto result = Init(Verify({"-u", "1337", "-i", "198.51.100.1/32", "-x", "203.0.113.9/32",
                                   "-b", "*", "--log-format", "json"}));
  EXPECT_EQ(result.exit_status, kInvalid);
  const Checks checks = ChecksOf(result);
  EXPECT_THAT(checks.at("IPv4 outbound to 198.51.100.1/32").second,
              HasSubstr("left the pod unchanged"));
  EXPECT_EQ(checks.at("IPv4 exempt: outbound to 203.0.113.9/32").first, "ok");
  for (const std::string& address : probed) {
    EXPECT_THAT(heard(), HasSubstr("-d " + address + "/32 -c 0 0"));
  }
  // The counter does count.
  EXPECT_EQ(Connect(pod(), {IpAddress::Parse("198.51.100.1"), 81}), "refused");
  EXPECT_THAT(heard(), HasSubstr("-d 198.51.100.1/32 -c 1 "));
}

TEST_F(VerifyTest, WildcardOfIncludedInterfacesNamesTheLink) {
  const auto result = Init(Usual({"--include-interfaces", "eth+", "--run-validation"}));
  ASSERT_EQ(result.exit_status, 0) << result.err;
  EXPECT_EQ(ChecksOf(result).at("IPv4 inbound").first, "ok");
  const auto exact = Init(Usual({"--include-interfaces", "eth0", "--run-validation"}));
  ASSERT_EQ(exact.exit_status, 0) << exact.err;
  EXPECT_EQ(ChecksOf(exact).at("IPv4 inbound").first, "not checked");
  EXPECT_EQ(ChecksOf(exact).at("IPv4 self-call of the proxy's uid 1337").first, "ok");
}

}  // namespace
}  // namespace sluice::testing_support
