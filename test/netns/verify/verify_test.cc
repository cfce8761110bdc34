// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// --run-validation and `sluice-init verify` pass when the rules are right, in a real namespace, and
// what happens to the rules.
#include <cstdio>
#include <fstream>
#include <string>
#include <string_view>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/netns/verify/verify_fixture.h"
#include "test/support/capture_cases.h"
#include "test/support/command.h"
#include "test/support/connection.h"
#include "test/support/init_program.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class VerifyCaseTest : public VerifyTest, public testing::WithParamInterface<CaptureCase> {};

TEST_P(VerifyCaseTest, EveryPathIsAsConfigured) {
  const CaptureCase& chosen = GetParam();
  network_.emplace(chosen.pod_has_ipv6 ? PodNetwork::Ipv6::kYes : PodNetwork::Ipv6::kNo);
  const std::string resolvers = testing::TempDir() + "resolv." + TestName(chosen.name) + ".conf";
  std::ofstream file(resolvers);
  for (const std::string& resolver : chosen.resolvers) file << "nameserver " << resolver << '\n';
  file.close();
  Words words = chosen.args;
  words.insert(words.end(), {"--run-validation", "--log-format", "json"});
  Command command = InitCommand(words);
  command.environment = chosen.environment;
  const Traces before = Look();
  const auto result = RunCommand(pod(), WithResolvConf(command, resolvers));
  std::remove(resolvers.c_str());
  ASSERT_EQ(result.exit_status, 0) << result.err;
  const Checks checks = ChecksOf(result);
  EXPECT_THAT(PathsWith(checks, "ok"), Not(IsEmpty()));
  // Root can do everything, so the only reason is an interface that we must not use.
  for (const std::string& path : PathsWith(checks, "not checked")) {
    EXPECT_THAT(path, testing::AnyOf(HasSubstr("interface"), HasSubstr("of the range"))) << path;
  }
  EXPECT_EQ(Look(), before);
}

INSTANTIATE_TEST_SUITE_P(All, VerifyCaseTest, testing::ValuesIn(CaptureCases()),
                         [](const auto& info) { return TestName(info.param.name); });

TEST_F(VerifyTest, WalksBothFamiliesAndAllKindsOfPaths) {
  const auto result = Init(Usual({"--redirect-dns", "--capture-all-dns", "-d", "8080", "-o", "22",
                                  "-x", "10.0.0.0/8,fd00:9::/32", "--run-validation"}));
  ASSERT_EQ(result.exit_status, 0) << result.err;
  const Checks checks = ChecksOf(result);
  for (const std::string family : {"IPv4 ", "IPv6 "}) {
    for (const std::string path :
         {"inbound", "outbound", "self-call of the proxy's uid 1337", "DNS over UDP",
          "DNS over TCP", "exempt: the proxy's uid 1337", "exempt: inbound port 8080",
          "exempt: outbound port 22", "exempt: tunnel port 15008", "exempt: loopback",
          "exempt: DNS of the proxy's uid 1337", "exempt: the proxy's call of the application"}) {
      const auto found = checks.find(family + path);
      ASSERT_NE(found, checks.end()) << family << path;
      EXPECT_EQ(found->second.first, "ok") << found->second.second;
    }
  }
  EXPECT_THAT(checks.at("IPv4 inbound").second, HasSubstr("original destination 198.18.0.1:15002"));
}

TEST_F(VerifyTest, PortsOnWhichNobodyListensAreTriedToo) {
  // An application on the probe's port is as good as the listener of the probe.
  const Listeners application(pod(), {{.port = 15002}});
  for (const char* const port : {"7777", "15002"}) {
    const auto result =
        Init(Usual({"--capture-listening", "--iptables-probe-port", port, "--run-validation"}));
    ASSERT_EQ(result.exit_status, 0) << result.err;
    const Checks checks = ChecksOf(result);
    for (const std::string family : {"IPv4 ", "IPv6 "}) {
      EXPECT_EQ(checks.at(family + "inbound").first, "ok");
      const auto& closed = checks.at(family + "inbound where nobody listens");
      EXPECT_EQ(closed.first, std::string_view(port) == "7777" ? "ok" : "not checked")
          << closed.second;
    }
  }
}

TEST_F(VerifyTest, ProbePortIsTheOneThatWasAskedFor) {
  const auto result = Init(Usual({"--iptables-probe-port", "7777", "--run-validation"}));
  ASSERT_EQ(result.exit_status, 0) << result.err;
  EXPECT_THAT(ChecksOf(result).at("IPv6 inbound").second,
              HasSubstr("original destination [2001:2::1]:7777"));
}

TEST_F(VerifyTest, RollBackPutsBackWhatWasThere) {
  ASSERT_EQ(Init(Usual({"-m", "TPROXY", "-o", "9"})).exit_status, 0);
  for (const char* program : {"iptables-legacy", "ip6tables-legacy"}) {
    Must({program, "-t", "nat", "-I", "OUTPUT", "-p", "tcp", "-j", "ACCEPT"});
  }
  const std::string rules = Saved();
  const std::string routing = RunCommand(pod(), {.argv = {"ip", "rule"}}).out;
  const auto result =
      Init(Usual({"-o", "10", "--run-validation", "--rollback-on-failed-validation"}));
  EXPECT_EQ(result.exit_status, kInvalid) << result.err;
  EXPECT_EQ(Saved(), rules);
  EXPECT_EQ(RunCommand(pod(), {.argv = {"ip", "rule"}}).out, routing);
  EXPECT_EQ(ChecksOf(result).at("IPv4 outbound").first, "failed");
  EXPECT_FALSE(LinkIsThere());
}

TEST_F(VerifyTest, WithoutRollBackTheNewRulesStay) {
  ASSERT_EQ(Init(Usual({"-o", "9"})).exit_status, 0);
  Must({"iptables-legacy", "-t", "nat", "-I", "OUTPUT", "-p", "tcp", "-j", "ACCEPT"});
  const auto result = Init(Usual({"-o", "10", "--run-validation"}));
  EXPECT_EQ(result.exit_status, kInvalid) << result.err;
  EXPECT_THAT(Saved(), AllOf(HasSubstr("--dport 10 "), Not(HasSubstr("--dport 9 "))));
}

TEST_F(VerifyTest, RollBackIsNotNeededWhenEverythingIsRight) {
  const auto result = Init(Usual({"--run-validation", "--rollback-on-failed-validation"}));
  EXPECT_EQ(result.exit_status, 0) << result.err;
  EXPECT_THAT(Saved(), HasSubstr("ISTIO_OUTPUT"));
}

}  // namespace
}  // namespace sluice::testing_support
