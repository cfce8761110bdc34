// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "verify/probe_plan.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/pod_contract.h"
#include "capture/capture_rules.h"
#include "test/support/capture_cases.h"
#include "verify/probe_exchange.h"
#include "verify/probe_pick.h"
#include "verify/probe_verdict.h"

namespace sluice::verify {
namespace {

using capture::CaptureConfig;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing_support::CaptureCase;
using testing_support::CaptureCases;

ProbeSite SiteOf(const capture::CaptureConfig& config, Family family) {
  const auto names = ChooseInterfaceNames(config);
  ProbeSite site;
  site.interface = names.value_or(DefaultInterfaceNames()).pod;
  site.interface_captured = names.has_value();
  site.pod = IpAddress::Parse(family == Family::kIpv4 ? "198.18.0.1" : "2001:2::1");
  site.in_use = {Cidr(site.pod, AddressBits(family))};
  return site;
}

std::vector<Family> FamiliesOf(const capture::CaptureConfig& config) {
  if (config.ipv6) return {Family::kIpv4, Family::kIpv6};
  return {Family::kIpv4};
}

std::vector<std::string> PathsOf(const std::vector<Probe>& probes) {
  std::vector<std::string> out;
  for (const Probe& probe : probes) {
    if (probe.obstacle.empty()) out.push_back(probe.path);
  }
  return out;
}

// What the rules must do with the first packet for the probe to end as expected.
capture::Verdict VerdictFor(const capture::CaptureConfig& config, const Probe& probe) {
  switch (probe.expected) {
    case Landing::kOutbound:
      return capture::RedirectedTo{config.outbound_port};
    case Landing::kDns:
      return capture::RedirectedTo{config.dns_port};
    case Landing::kInbound:
      if (probe.client && config.mode == capture::InterceptionMode::kTproxy) {
        return capture::TproxiedTo{config.inbound_port};
      }
      return capture::RedirectedTo{config.inbound_port};
    case Landing::kRefused:
      return capture::RedirectedTo{pod::kRefusedPort};
    case Landing::kDirect:
    case Landing::kOutside:
      break;
  }
  return capture::Passes{};
}

// The plan and the rules are derived from the configuration independently: they must agree about
// every probe of every named configuration.
class PlanOfCaseTest : public testing::TestWithParam<CaptureCase> {};

TEST_P(PlanOfCaseTest, RulesSendEveryProbeWhereThePlanExpectsIt) {
  const capture::CaptureConfig config = ConfigOf(GetParam());
  const capture::RuleSet rules = capture::BuildRules(config);
  for (const Family family : FamiliesOf(config)) {
    const ProbeSite site = SiteOf(config, family);
    for (const Probe& probe : PlanProbes(config, site)) {
      if (!probe.obstacle.empty()) continue;
      ProbePacket packet = PacketOf(probe, site);
      if (packet.packet.destination_port == 0) packet.packet.destination_port = 40001;
      const auto evaluation = capture::Evaluate(rules.family(family), packet.hook, packet.packet);
      EXPECT_EQ(evaluation.verdict, VerdictFor(config, probe))
          << Name(family) << ' ' << probe.path << " to " << probe.destination << ": "
          << (evaluation.path.empty() ? "no rule" : evaluation.path.back().ToString());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, PlanOfCaseTest, testing::ValuesIn(CaptureCases()),
                         [](const auto& info) {
                           return testing_support::TestName(info.param.name);
                         });

capture::CaptureConfig Everything() {
  capture::CaptureConfig config;
  config.inbound_ports.all = true;
  config.outbound_ranges.all = true;
  return config;
}

std::vector<std::string> PathsFor(const capture::CaptureConfig& config) {
  return PathsOf(PlanProbes(config, SiteOf(config, Family::kIpv4)));
}

TEST(ProbePlanTest, WalksEveryPathOfTheUsualConfiguration) {
  EXPECT_THAT(PathsFor(Everything()),
              ElementsAre("inbound", "exempt: tunnel port 15008", "outbound",
                          "exempt: the proxy's uid 1337", "exempt: the proxy's gid 1337",
                          "self-call of the proxy's uid 1337", "self-call of the proxy's gid 1337",
                          "exempt: loopback", "exempt: the application's call of its own pod",
                          "exempt: the proxy's call of the application"));
}

TEST(ProbePlanTest, WherePortsMustBeOpenAnApplicationListens) {
  capture::CaptureConfig config = Everything();
  config.capture_listening = true;
  const auto probes = PlanProbes(config, SiteOf(config, Family::kIpv4));
  const auto open = std::ranges::find(probes, "inbound", &Probe::path);
  ASSERT_NE(open, probes.end());
  EXPECT_TRUE(open->needs_application);
  const auto closed = std::ranges::find(probes, "inbound where nobody listens", &Probe::path);
  ASSERT_NE(closed, probes.end());
  EXPECT_EQ(closed->expected, Landing::kRefused);
  EXPECT_FALSE(closed->needs_application);
  Outcome outcome{.kind = Outcome::Kind::kRefused};
  EXPECT_EQ(JudgeOutcome(config, *closed, outcome).status, CheckStatus::kOk);
  outcome.kind = Outcome::Kind::kArrived;
  outcome.landing = Landing::kInbound;
  const Check captured = JudgeOutcome(config, *closed, outcome);
  EXPECT_EQ(captured.status, CheckStatus::kFailed);
  EXPECT_THAT(captured.detail, HasSubstr("should have been refused"));
  outcome.kind = Outcome::Kind::kSilence;
  EXPECT_EQ(JudgeOutcome(config, *closed, outcome).status, CheckStatus::kFailed);
}

TEST(ProbePlanTest, EachEntryOfAListIsAPathOfItsOwn) {
  capture::CaptureConfig config = Everything();
  config.inbound_exclude_ports = {PortRange::Single(8080), {9000, 9010}};
  config.outbound_exclude_ports = {PortRange::Single(22)};
  config.outbound_exclude_ranges = {Cidr::Parse("10.0.0.0/8"), Cidr::Parse("fd00::/8")};
  config.exclude_uids = {7};
  config.redirect_dns = true;
  config.dns_servers = {IpAddress::Parse("10.96.0.10"), IpAddress::Parse("fd00::53")};
  const auto paths = PathsFor(config);
  for (const char* path :
       {"exempt: inbound port 8080", "exempt: inbound port 9000-9010", "exempt: outbound port 22",
        "exempt: outbound to 10.0.0.0/8", "exempt: uid 7", "DNS over UDP to 10.96.0.10",
        "DNS over TCP to 10.96.0.10", "exempt: DNS of the proxy's uid 1337 to 10.96.0.10"}) {
    EXPECT_THAT(paths, Contains(path));
  }
  EXPECT_THAT(paths, Not(Contains(HasSubstr("fd00")))) << "the other family's";
}

TEST(ProbePlanTest, AnApplicationIsSomebodyWhomNothingExempts) {
  capture::CaptureConfig config = Everything();
  config.proxy_uids = {0, 1000};
  config.exclude_uids = {1001};
  config.owner_groups = std::vector<std::uint32_t>{1337, 202};
  const auto probes = PlanProbes(config, SiteOf(config, Family::kIpv4));
  const auto outbound = std::ranges::find(probes, "outbound", &Probe::path);
  ASSERT_NE(outbound, probes.end());
  EXPECT_EQ(outbound->owner, (Owner{.uid = 1002, .gid = 202}));
}

TEST(ProbePlanTest, LongListIsSampledFromEndToEnd) {
  capture::CaptureConfig config = Everything();
  for (int i = 0; i < 100; ++i) {
    config.inbound_exclude_ports.push_back(
        PortRange::Single(static_cast<std::uint16_t>(20000 + 2 * i)));
  }
  const auto paths = PathsFor(config);
  EXPECT_EQ(std::ranges::count_if(
                paths, [](const auto& path) { return path.starts_with("exempt: inbound port"); }),
            static_cast<std::ptrdiff_t>(kProbesPerList));
  EXPECT_THAT(paths, Contains("exempt: inbound port 20000"));
  EXPECT_THAT(paths, Contains("exempt: inbound port 20198"));
}

TEST(ProbePlanTest, SaysWhatAnInterfaceThatIsNotCapturedHides) {
  capture::CaptureConfig config = Everything();
  config.include_interfaces = {"eth0"};
  const auto probes = PlanProbes(config, SiteOf(config, Family::kIpv4));
  const auto inbound = std::ranges::find(probes, "inbound", &Probe::path);
  ASSERT_NE(inbound, probes.end());
  EXPECT_THAT(inbound->obstacle, HasSubstr("--include-interfaces"));
  // Probes through lo are still possible.
  EXPECT_THAT(PathsOf(probes), Contains("self-call of the proxy's uid 1337"));
}

TEST(ProbePickTest, InterfaceIsNamedSoThatItIsCaptured) {
  capture::CaptureConfig config;
  EXPECT_EQ(ChooseInterfaceNames(config)->pod, "slprobe0");
  config.include_interfaces = {"eth0", "cali+"};
  EXPECT_EQ(ChooseInterfaceNames(config)->pod, "calislprobe0");
  EXPECT_EQ(ChooseInterfaceNames(config)->peer, "calislprobe1");
  config.include_interfaces = {"eth0"};
  EXPECT_EQ(ChooseInterfaceNames(config), std::nullopt);
  config.include_interfaces = {"toolonganame+"};
  EXPECT_EQ(ChooseInterfaceNames(config), std::nullopt);
  config.include_interfaces = {};
  config.exclude_interfaces = {"sl+"};
  EXPECT_EQ(ChooseInterfaceNames(config)->pod, "xslprobe0");
  config.exclude_interfaces = {"+"};
  EXPECT_EQ(ChooseInterfaceNames(config), std::nullopt);
  EXPECT_TRUE(IsProbeInterface("calislprobe0"));
  EXPECT_FALSE(IsProbeInterface("calislprobe1")) << "goes with the other end";
  EXPECT_FALSE(IsProbeInterface("eth0"));
}

std::string Picked(const std::vector<std::string>& among, const std::vector<std::string>& blocked) {
  const auto parse = [](const std::vector<std::string>& texts) {
    std::vector<Cidr> out;
    for (const std::string& text : texts) out.push_back(Cidr::Parse(text));
    return out;
  };
  const auto found = PickAddress(parse(among), parse(blocked));
  return found ? found->ToString() : "none";
}

TEST(ProbePickTest, AddressIsInOneRangeAndInNoneThatIsBlocked) {
  EXPECT_EQ(Picked({"10.0.0.0/8"}, {}), "10.0.0.1");
  EXPECT_EQ(Picked({"10.0.0.0/8"}, {"10.0.0.0/9", "10.128.0.0/10"}), "10.192.0.0");
  EXPECT_EQ(Picked({"10.0.0.0/30"}, {"10.0.0.1", "10.0.0.2/31"}), "10.0.0.0");
  EXPECT_EQ(Picked({"10.0.0.7"}, {}), "10.0.0.7");
  EXPECT_EQ(Picked({"10.0.0.0/8", "11.0.0.0/8"}, {"10.0.0.0/7"}), "none");
  EXPECT_EQ(Picked({"10.0.0.0/8", "11.0.0.0/8"}, {"10.0.0.0/8"}), "11.0.0.1");
  EXPECT_EQ(Picked({"255.255.255.0/24"}, {"255.255.255.0/24"}), "none") << "the end of all";
  EXPECT_EQ(Picked({"2001:2::/48"}, {"2001:2::/64"}), "2001:2:0:1::");
}

TEST(ProbePickTest, PortIsThePreferredOneOrOneThatNeedsNoPrivilege) {
  EXPECT_EQ(PickPort({{1, 65535}}, {}, 15002), 15002);
  EXPECT_EQ(PickPort({{1, 65535}}, {{15000, 16000}}, 15002), 1024);
  EXPECT_EQ(PickPort({{80, 81}}, {PortRange::Single(80)}, 15002), 81);
  EXPECT_EQ(PickPort({{1000, 1024}}, {PortRange::Single(1024)}, 15002), 1000);
  EXPECT_EQ(PickPort({{65535, 65535}}, {{65535, 65535}}, 15002), std::nullopt);
}

Outcome ArrivedAt(Landing landing, const char* local, const char* original) {
  Outcome out{.kind = Outcome::Kind::kArrived, .landing = landing};
  out.arrival.local = {IpAddress::Parse(local), 15006};
  out.arrival.original = SocketAddress{IpAddress::Parse(original), 80};
  return out;
}

TEST(JudgeTest, TheRightListenerMustKnowTheRightDestination) {
  const capture::CaptureConfig config = Everything();
  Probe probe{.path = "inbound", .expected = Landing::kInbound};
  probe.client = IpAddress::Parse("198.18.0.2");
  probe.destination = {IpAddress::Parse("198.18.0.1"), 80};
  const auto status = [&](const Outcome& outcome) {
    return JudgeOutcome(config, probe, outcome).status;
  };
  EXPECT_EQ(status(ArrivedAt(Landing::kInbound, "198.18.0.1", "198.18.0.1")), CheckStatus::kOk);
  EXPECT_EQ(status(ArrivedAt(Landing::kInbound, "198.18.0.1", "198.18.0.9")), CheckStatus::kFailed);
  EXPECT_EQ(status(ArrivedAt(Landing::kOutbound, "198.18.0.1", "198.18.0.1")),
            CheckStatus::kFailed);
  for (const auto kind : {Outcome::Kind::kLeft, Outcome::Kind::kRefused, Outcome::Kind::kSilence,
                          Outcome::Kind::kUnanswered}) {
    EXPECT_EQ(status({.kind = kind, .landing = Landing::kInbound}), CheckStatus::kFailed);
  }
  EXPECT_EQ(status({.kind = Outcome::Kind::kImpossible}), CheckStatus::kNotChecked);
}

TEST(JudgeTest, TproxyMustKeepTheDestination) {
  capture::CaptureConfig config = Everything();
  config.mode = capture::InterceptionMode::kTproxy;
  Probe probe{.path = "inbound", .expected = Landing::kInbound};
  probe.client = IpAddress::Parse("198.18.0.2");
  probe.destination = {IpAddress::Parse("198.18.0.1"), 80};
  Outcome redirected = ArrivedAt(Landing::kInbound, "198.18.0.1", "198.18.0.1");
  EXPECT_EQ(JudgeOutcome(config, probe, redirected).status, CheckStatus::kFailed);
  redirected.arrival.local.port = 80;
  EXPECT_EQ(JudgeOutcome(config, probe, redirected).status, CheckStatus::kOk);
}

TEST(JudgeTest, WhatIsExemptMustNotArriveAnywhere) {
  const capture::CaptureConfig config = Everything();
  Probe probe{.path = "exempt: outbound port 22", .expected = Landing::kOutside};
  probe.destination = {IpAddress::Parse("198.18.0.2"), 22};
  EXPECT_EQ(JudgeOutcome(config, probe, {.kind = Outcome::Kind::kLeft}).status, CheckStatus::kOk);
  const Check captured =
      JudgeOutcome(config, probe, ArrivedAt(Landing::kOutbound, "127.0.0.1", "198.18.0.2"));
  EXPECT_EQ(captured.status, CheckStatus::kFailed);
  EXPECT_THAT(captured.detail, HasSubstr("arrived at the outbound listener"));
}

}  // namespace
}  // namespace sluice::verify
