// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "capture/capture_rules.h"
#include "capture/explain/cause.h"
#include "capture/explain/walk.h"
#include "iptables/compile.h"
#include "nftables/model/model.h"
#include "nftables/program/compile.h"
#include "test/support/capture_cases.h"

namespace sluice::capture::explain {
namespace {

using ::testing::HasSubstr;
using Kind = RouteAnswer::Kind;

// A pod with 192.0.2.2 on eth0, and all other addresses beyond it.
class Pod : public Host {
 public:
  RouteAnswer Route(const RouteQuery& query) override {
    if (query.to.IsLoopback()) return {.kind = Kind::kLocal, .device = "lo", .source = query.to};
    if (query.to == IpAddress::Parse("192.0.2.2")) {
      return {.kind = Kind::kLocal, .device = "lo", .source = query.to};
    }
    if (query.to == IpAddress::Parse("192.0.2.99")) return {.kind = Kind::kNone};
    return {.kind = Kind::kForward, .device = "eth0", .source = IpAddress::Parse("192.0.2.2")};
  }
  std::optional<IpAddress> FirstAddress(const std::string& interface, Family) override {
    if (interface == "bare") return {};
    return IpAddress::Parse("192.0.2.2");
  }
};

Connection Outbound(const char* to, std::uint32_t id = 1000) {
  Connection out;
  out.to = {IpAddress::Parse(to), 80};
  out.uid = id;
  out.gid = id;
  return out;
}

Connection Inbound() {
  Connection out;
  out.to = {IpAddress::Parse("192.0.2.2"), 80};
  out.from = IpAddress::Parse("192.0.2.1");
  out.in_interface = "eth0";
  return out;
}

CaptureConfig Everything() {
  CaptureConfig config;
  config.inbound_ports.all = true;
  config.outbound_ranges.all = true;
  return config;
}

Model Planned(const CaptureConfig& config) {
  return ModelOf(iptables::Compile(BuildRules(config)), "iptables");
}

Model PlannedForNftables(const CaptureConfig& config) {
  return nftables::PlannedModel(nftables::Compile(BuildRules(config)));
}

// A foreign rule, before ours.
void Insert(Model& model, std::string_view table, std::string_view chain, ModelRule rule) {
  for (ModelTable& one : model.tables) {
    if (one.name != table || one.family != Family::kIpv4) continue;
    for (ModelChain& of : one.chains) {
      if (of.name == chain) of.rules.insert(of.rules.begin(), rule);
    }
  }
}

Outcome OutcomeOf(const Model& model, const Connection& connection) {
  Pod pod;
  return Walker(model, pod).Explain(connection).outcome;
}

TEST(Explain, NamesTheListenerAndTheRule) {
  const Model model = Planned(Everything());
  const Outcome out = OutcomeOf(model, Outbound("198.51.100.1"));
  EXPECT_EQ(out.landing, Landing::kOutbound);
  EXPECT_EQ(out.port, 15001);
  EXPECT_EQ(out.decided->chain->name, "ISTIO_REDIRECT");
  const Outcome in = OutcomeOf(model, Inbound());
  EXPECT_EQ(in.landing, Landing::kInbound);
  EXPECT_EQ(in.decided->get()->flag, "--inbound-capture-port=15006");
}

TEST(Explain, FollowsBothWhereAConditionIsNotKnown) {
  Model model = Planned(Everything());
  Insert(model, "nat", "OUTPUT",
         {.tests = {UnknownTest{"-m set"}}, .action = Accept{}, .text = "x"});
  const Outcome out = OutcomeOf(model, Outbound("198.51.100.1"));
  EXPECT_EQ(out.landing, Landing::kUnknown);
  EXPECT_EQ(out.decided->chain->name, "OUTPUT");
  Pod pod;
  EXPECT_EQ(Walker(model, pod).Explain(Outbound("198.51.100.1")).candidates.size(), 2U);
  // For the proxy, both paths end in the same place.
  EXPECT_EQ(OutcomeOf(model, Outbound("198.51.100.1", 1337)).landing, Landing::kDirect);
}

TEST(Explain, AnUnknownTargetIsNeverAGuess) {
  Model model = Planned(Everything());
  Insert(model, "nat", "OUTPUT",
         {.tests = {}, .action = UnknownAction{"-j NEW"}, .text = "-j NEW"});
  EXPECT_EQ(OutcomeOf(model, Outbound("198.51.100.1")).landing, Landing::kUnknown);
}

TEST(Explain, ManyUnknownRulesHaveAnEnd) {
  Model model = Planned(Everything());
  for (int i = 0; i < 40; ++i) {
    Insert(model, "nat", "OUTPUT",
           {.tests = {UnknownTest{"-m set"}}, .action = RedirectToSelf{9}, .text = "x"});
    Insert(model, "nat", "OUTPUT",
           {.tests = {UnknownTest{"-m set"}}, .action = XorMark{false, 1, 1}, .text = "x"});
  }
  EXPECT_EQ(OutcomeOf(model, Outbound("198.51.100.1")).landing, Landing::kUnknown);
}

TEST(Explain, AChainThatIsNotReadMakesItUnknown) {
  Model model = Planned(Everything());
  model.unread.push_back({.backend = "nftables",
                          .family = Family::kIpv4,
                          .table = "t",
                          .chain = "c",
                          .hook = HookPoint::kInput,
                          .priority = 0});
  EXPECT_EQ(OutcomeOf(model, Inbound()).landing, Landing::kUnknown);
  // Outgoing packets do not pass it.
  EXPECT_EQ(OutcomeOf(model, Outbound("198.51.100.1", 1337)).landing, Landing::kDirect);
}

TEST(Explain, WithoutARouteNoRuleIsAsked) {
  const Outcome out = OutcomeOf(Planned(Everything()), Outbound("192.0.2.99"));
  EXPECT_EQ(out.landing, Landing::kRefused);
  EXPECT_TRUE(out.path.empty());
}

TEST(Explain, RedirectDropsWhatComesByAnInterfaceWithoutAddress) {
  Connection connection = Inbound();
  connection.in_interface = "bare";
  EXPECT_EQ(OutcomeOf(Planned(Everything()), connection).landing, Landing::kDropped);
}

TEST(Explain, AConnectionThatExistedIsWhereNobodyHasLooked) {
  Connection connection = Outbound("198.51.100.1");
  connection.state = kStateEstablished;
  const Outcome out = OutcomeOf(Planned(Everything()), connection);
  EXPECT_EQ(out.landing, Landing::kUnknown);
  ASSERT_FALSE(out.notes.empty());
  EXPECT_THAT(out.notes[0], HasSubstr("existed before the rules"));
  // A packet dropped before destinations change is dropped in any case.
  Model model = Planned(Everything());
  model.tables.push_back({.backend = "iptables", .name = "raw"});
  model.tables.back().chains.push_back(
      {.name = "OUTPUT", .rules = {{.action = Drop{}}}, .base = BuiltinHook("raw", "OUTPUT")});
  EXPECT_EQ(OutcomeOf(model, connection).landing, Landing::kDropped);
}

TEST(Explain, RulesKnowTheFlagThatCausedThem) {
  CaptureConfig config = Everything();
  config.outbound_exclude_ranges = {Cidr::Parse("10.0.0.0/8")};
  config.outbound_exclude_ports = {PortRange::Single(22)};
  config.exclude_uids = {7};
  config.exclude_interfaces = {"eth7"};
  config.owner_groups_exclude = {9};
  config.inbound_exclude_ports = {PortRange::Single(9090)};
  config.inbound_exclude_ranges = {Cidr::Parse("192.0.2.77/32")};
  const Model model = Planned(config);
  const auto flag = [&](const Connection& connection) {
    const Outcome out = OutcomeOf(model, connection);
    EXPECT_EQ(out.landing, Landing::kDirect);
    return out.decided ? out.decided->get()->flag : "nothing decided";
  };
  EXPECT_EQ(flag(Outbound("10.1.2.3")), "--istio-service-exclude-cidr=10.0.0.0/8");
  Connection ssh = Outbound("198.51.100.1");
  ssh.to.port = 22;
  EXPECT_EQ(flag(ssh), "--istio-local-outbound-ports-exclude=22");
  EXPECT_EQ(flag(Outbound("198.51.100.1", 7)), "--exclude-uids=7");
  EXPECT_EQ(flag(Outbound("198.51.100.1", 1337)), "--proxy-uid=1337");
  Connection group = Outbound("198.51.100.1");
  group.gid = 9;
  EXPECT_EQ(flag(group), "--istio-outbound-owner-groups-exclude=9");
  group.gid = 1337;
  EXPECT_EQ(flag(group), "--proxy-gid=1337");
  Connection in = Inbound();
  in.to.port = 15008;
  EXPECT_EQ(flag(in), "--inbound-tunnel-port=15008");
  in.to.port = 9090;
  EXPECT_EQ(flag(in), "--istio-local-exclude-ports=9090");
  in = Inbound();
  in.from = IpAddress::Parse("192.0.2.77");
  EXPECT_EQ(flag(in), "--istio-inbound-exclude-cidr=192.0.2.77/32");
  in = Inbound();
  in.in_interface = "eth7";
  EXPECT_EQ(flag(in), "--istio-exclude-interfaces=eth7");
  EXPECT_THAT(AdviceFor("--exclude-uids=7", false), HasSubstr("take the user out of"));
}

TEST(Explain, PlansOfBothBackendsLandInOnePlaceForOneReason) {
  CaptureConfig config = Everything();
  config.exclude_uids = {7};
  config.outbound_exclude_ranges = {Cidr::Parse("10.0.0.0/8"), Cidr::Parse("172.16.0.0/12")};
  const Model one = Planned(config), other = PlannedForNftables(config);
  for (const Connection& connection :
       {Outbound("198.51.100.1"), Outbound("198.51.100.1", 1337), Outbound("198.51.100.1", 7),
        Inbound(), Outbound("192.0.2.2", 1337), Outbound("127.0.0.1")}) {
    const Outcome a = OutcomeOf(one, connection), b = OutcomeOf(other, connection);
    EXPECT_EQ(a.landing, b.landing);
    EXPECT_EQ(a.port, b.port);
    ASSERT_EQ(a.decided.has_value(), b.decided.has_value());
    if (!a.decided) continue;
    EXPECT_EQ(b.decided->table->backend, "nftables");
    EXPECT_EQ(a.decided->get()->flag, b.decided->get()->flag);
  }
  const Outcome listed = OutcomeOf(other, Outbound("10.1.2.3"));
  EXPECT_EQ(listed.landing, Landing::kDirect);
  EXPECT_EQ(listed.decided->get()->flag, "--istio-service-exclude-cidr");
}

// In all named configurations, every rule has a cause, or says why it has none.
TEST(Explain, EveryRuleOfEveryCaseHasACause) {
  for (const auto& one : testing_support::CaptureCases()) {
    SCOPED_TRACE(one.name);
    const auto config = testing_support::ConfigOf(one);
    Model model = Planned(config);
    const Model other = PlannedForNftables(config);
    model.tables.insert(model.tables.end(), other.tables.begin(), other.tables.end());
    for (const ModelTable& table : model.tables) {
      for (const ModelChain& chain : table.chains) {
        if (!chain.ours) continue;
        for (const ModelRule& rule : chain.rules) {
          EXPECT_FALSE(rule.flag.empty() && rule.why.empty())
              << table.name << " " << chain.name << ": " << rule.text;
          EXPECT_EQ(rule.why.find("this version"), std::string::npos) << rule.text;
        }
      }
    }
  }
}

}  // namespace
}  // namespace sluice::capture::explain
