// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "nftables/program/compile.h"

#include <algorithm>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "capture/capture_rules.h"
#include "nftables/program/rule_program.h"
#include "nftables/text.h"
#include "test/support/capture_cases.h"
#include "test/unit/nftables/evaluate_program.h"

namespace sluice::nftables {
namespace {

using capture::Is;
using capture::Not;
using testing_support::CaptureCase;
using testing_support::CaptureCases;

// Random choices from few values, so that configurations and packets match.
class Dice {
 public:
  explicit Dice(unsigned int seed) : engine_(seed) {}

  std::size_t Below(std::size_t end) {
    return std::uniform_int_distribution<std::size_t>(0, end - 1)(engine_);
  }
  bool Coin() { return Below(2) == 0; }
  template <typename T>
  T Of(const std::vector<T>& values) {
    return values[Below(values.size())];
  }
  // Up to `most` of them.
  template <typename T>
  std::vector<T> Some(const std::vector<T>& values, std::size_t most = 3) {
    std::vector<T> out;
    for (std::size_t i = Below(most + 1); i > 0; --i) out.push_back(Of(values));
    return out;
  }

 private:
  std::mt19937 engine_;
};

const std::vector<std::uint32_t> kIds = {0, 3, 202, 888, 1000, 1337};
const std::vector<PortRange> kPorts = {{80, 80},       {443, 443}, {53, 53},       {8000, 8100},
                                       {15008, 15008}, {0, 65535}, {30000, 65535}, {15053, 15053}};
const std::vector<std::string> kInterfaces = {"eth0", "eth1", "eth+", "lo", "tap0"};
const std::vector<std::string> kAddresses = {
    "127.0.0.1",       "127.0.0.6",   "10.0.0.1",    "10.255.255.255",
    "192.0.2.2",       "192.0.2.3",   "203.0.113.9", "10.96.0.10",
    "255.255.255.255", "0.0.0.0",     "::1",         "::6",
    "2001:db8::1",     "2001:db8::2", "fe80::1",     "fd00::1",
    "2001:db8:ffff::1"};

std::vector<Cidr> Ranges() {
  std::vector<Cidr> out;
  for (const char* const text :
       {"10.0.0.0/8", "10.96.0.0/16", "192.0.2.2/31", "192.0.2.2/32", "203.0.113.0/24",
        "255.255.255.254/31", "127.1.2.0/23", "2001:db8::/32", "2001:db8::1/128", "fd00::/8",
        "ffff::/17", "128.0.0.0/1", "198.51.100.0/25"}) {
    out.push_back(Cidr::Parse(text));
  }
  return out;
}

capture::CaptureConfig RandomConfig(Dice& dice) {
  capture::CaptureConfig config;
  config.ipv6 = true;
  config.proxy_uids = dice.Some(kIds, 2);
  config.proxy_gids = dice.Some(kIds, 2);
  if (dice.Coin()) config.mode = capture::InterceptionMode::kTproxy;
  config.tproxy_mark = dice.Of<std::uint32_t>({1, 1337, 0x800, 0xffffffff});
  config.inbound_ports.all = dice.Coin();
  if (!config.inbound_ports.all) config.inbound_ports.ports = dice.Some(kPorts);
  config.inbound_exclude_ports = dice.Some(kPorts, 2);
  config.inbound_exclude_ranges = dice.Some(Ranges());
  config.outbound_ranges.all = dice.Coin();
  if (!config.outbound_ranges.all) config.outbound_ranges.ranges = dice.Some(Ranges(), 5);
  config.outbound_exclude_ranges = dice.Some(Ranges(), 5);
  config.outbound_ports = dice.Some(kPorts, 2);
  config.outbound_exclude_ports = dice.Some(kPorts, 1);
  config.exclude_uids = dice.Some(kIds, 1);
  config.exclude_gids = dice.Some(kIds, 1);
  if (dice.Coin()) config.owner_groups = dice.Some(kIds);
  config.owner_groups_exclude = dice.Some(kIds, 1);
  config.exclude_interfaces = dice.Some(kInterfaces, 1);
  config.include_interfaces = dice.Some(kInterfaces, 2);
  config.virt_interfaces = dice.Some(kInterfaces, 1);
  config.redirect_dns = dice.Coin();
  config.capture_all_dns = dice.Coin();
  if (dice.Coin()) {
    config.dns_servers = {IpAddress::Parse("10.96.0.10"), IpAddress::Parse("2001:db8::1")};
  }
  config.drop_invalid = dice.Coin();
  return config;
}

capture::Packet RandomPacket(Dice& dice, Family family, capture::Hook hook) {
  const auto address = [&] {
    for (;;) {
      const IpAddress out = IpAddress::Parse(dice.Of(kAddresses));
      if (out.family() == family) return out;
    }
  };
  capture::Packet packet{.source = address(), .destination = address()};
  if (dice.Below(3) == 0) packet.protocol = capture::Protocol::kUdp;
  packet.source_port = dice.Of(kPorts).first;
  packet.destination_port = dice.Coin() ? dice.Of(kPorts).first : dice.Of(kPorts).last;
  const std::string interface =
      dice.Of<std::string>({"eth0", "eth1", "lo", "tap0", "eth", "veth0"});
  if (hook == capture::Hook::kOutput) {
    packet.out_interface = interface;
    // Packets of the kernel itself have no socket.
    if (dice.Below(4) != 0) {
      packet.uid = dice.Of(kIds);
      packet.gid = dice.Of(kIds);
    }
  } else {
    packet.in_interface = interface;
  }
  const std::vector<std::uint32_t> marks = {0, 1, 1337, 1338, 0x800, 0xffffffff, 0x10539};
  packet.mark.value = dice.Of(marks);
  packet.connmark.value = dice.Of(marks);
  packet.state = dice.Of<capture::ConntrackState>(
      {capture::ConntrackState::kNew, capture::ConntrackState::kNew,
       capture::ConntrackState::kEstablished, capture::ConntrackState::kRelated,
       capture::ConntrackState::kInvalid});
  return packet;
}

// The rules, the compiled rules and the programs must all give the same answer.
void ExpectTheSame(const capture::CaptureConfig& config, Dice& dice, int packets) {
  const capture::RuleSet rules = capture::BuildRules(config);
  const capture::RuleSet compiled = Compile(rules);
  for (const Family family : capture::kFamilies) {
    const FamilyState state = ToState(compiled.family(family));
    for (int i = 0; i < packets; ++i) {
      const capture::Hook hook = dice.Coin() ? capture::Hook::kOutput : capture::Hook::kPrerouting;
      const capture::Packet packet = RandomPacket(dice, family, hook);
      const auto want = Evaluate(rules.family(family), hook, packet);
      const auto as_rules = Evaluate(compiled.family(family), hook, packet);
      const auto as_programs = EvaluatePrograms(state, family, hook, packet);
      const auto describe = [&] {
        return packet.source.ToString() + " -> " + packet.destination.ToString() + ":" +
               std::to_string(packet.destination_port) + " uid " +
               (packet.uid ? std::to_string(*packet.uid) : "none") + " gid " +
               (packet.gid ? std::to_string(*packet.gid) : "none") + "\n" + NftText(compiled);
      };
      ASSERT_EQ(as_rules.verdict, want.verdict) << describe();
      ASSERT_EQ(as_programs.verdict, want.verdict) << describe();
      for (const auto& [mark, connmark, zone] :
           {std::tuple(as_rules.packet.mark.value, as_rules.packet.connmark.value, as_rules.zone),
            std::tuple(as_programs.packet.mark.value, as_programs.packet.connmark.value,
                       as_programs.zone)}) {
        ASSERT_EQ(mark, want.packet.mark.value) << describe();
        ASSERT_EQ(connmark, want.packet.connmark.value) << describe();
        ASSERT_EQ(zone, want.zone) << describe();
      }
    }
  }
}

TEST(Compiled, DoesWhatTheRulesSayForRandomConfigurations) {
  for (unsigned int seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    Dice dice(seed);
    const capture::CaptureConfig config = RandomConfig(dice);
    ExpectTheSame(config, dice, 60);
    if (HasFatalFailure()) return;
  }
}

class EveryNftablesCase : public testing::TestWithParam<CaptureCase> {};

TEST_P(EveryNftablesCase, DoesWhatTheRulesSay) {
  Dice dice(1);
  ExpectTheSame(ConfigOf(GetParam()), dice, 100);
}

TEST_P(EveryNftablesCase, ComesBackFromItsPrograms) {
  const capture::RuleSet compiled = Compile(capture::BuildRules(ConfigOf(GetParam())));
  for (const Family family : capture::kFamilies) {
    const capture::FamilyRules& rules = compiled.family(family);
    const FamilyState state = ToState(rules);
    for (const capture::TableRules& table : rules.tables) {
      EXPECT_TRUE(Equal(ToInstalled(state, family, table.table), table));
    }
  }
}

// The longest way of jumps and gotos from `rules` on.
std::size_t DepthOf(const std::vector<capture::Rule>& rules, const capture::TableRules& table) {
  std::size_t deepest = 0;
  for (const capture::Rule& rule : rules) {
    const auto* const jump = std::get_if<capture::Jump>(&rule.target);
    const auto* const go = std::get_if<capture::Goto>(&rule.target);
    if (jump == nullptr && go == nullptr) continue;
    const auto to = std::ranges::find(table.chains, jump != nullptr ? jump->chain : go->chain,
                                      &capture::Chain::name);
    if (to != table.chains.end()) deepest = std::max(deepest, 1 + DepthOf(to->rules, table));
  }
  return deepest;
}

// The kernel refuses the 16th (NFT_JUMP_STACK_SIZE), and counts gotos: a list is no tree of chains.
TEST_P(EveryNftablesCase, StaysBelowTheDepthOfJumpsThatTheKernelTakes) {
  const capture::RuleSet compiled = Compile(capture::BuildRules(ConfigOf(GetParam())));
  for (const Family family : capture::kFamilies) {
    for (const capture::TableRules& table : compiled.family(family).tables) {
      for (const capture::EntryJump& jump : table.jumps) {
        EXPECT_LT(DepthOf({jump.rule}, table), 8U);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, EveryNftablesCase, testing::ValuesIn(CaptureCases()),
                         [](const auto& info) {
                           return testing_support::TestName(info.param.name);
                         });

capture::TableRules Nat(std::vector<capture::Rule> rules) {
  return {.table = capture::Table::kNat, .chains = {{"ISTIO_A", std::move(rules)}}};
}

// x_tables matches "not this uid" for a packet without a socket; meta skuid never does.
TEST(Compile, MakesRulesForOthersOfANegatedOwner) {
  const capture::Rule before{.target = capture::Jump{"ISTIO_B"}};
  const capture::Rule behind{.target = capture::Accept{}};
  const capture::Match uid = capture::OwnerMatch{.uid = Is(3U)};
  const auto chains =
      Compile(Nat({before, {.matches = {capture::OwnerMatch{.uid = Not(3U)}}}, behind})).chains;
  EXPECT_THAT(chains,
              testing::ElementsAre(
                  capture::Chain{"ISTIO_A",
                                 {before,
                                  {.matches = {uid}, .target = capture::Goto{"ISTIO_A_OTHERS"}},
                                  {.target = capture::Return{}}}},
                  capture::Chain{"ISTIO_A_OTHERS", {behind}}));
}

TEST(Compile, PutsANegatedOwnerWithATargetIntoAChain) {
  const capture::Rule rule{.protocol = capture::Protocol::kUdp,
                           .matches = {capture::OwnerMatch{.gid = Not(3U)}},
                           .target = capture::CtZone{1}};
  const auto chains = Compile(Nat({rule, {.target = capture::Accept{}}})).chains;
  ASSERT_EQ(chains.size(), 2U);
  EXPECT_THAT(chains[0].rules,
              testing::ElementsAre(capture::Rule{.protocol = capture::Protocol::kUdp,
                                                 .target = capture::Jump{"ISTIO_A_UNLESS"}},
                                   capture::Rule{.target = capture::Accept{}}));
  EXPECT_THAT(chains[1].rules,
              testing::ElementsAre(capture::Rule{.matches = {capture::OwnerMatch{.gid = Is(3U)}}},
                                   capture::Rule{.target = capture::CtZone{1}}));
}

// nft's tproxy continues with the next rule if nobody listens; that of x_tables drops.
TEST(Compile, DropsWhatTproxyFindsNoListenerFor) {
  const auto config = ConfigOf(testing_support::FindCase("tproxy-dual"));
  const capture::RuleSet compiled = Compile(capture::BuildRules(config));
  for (const Family family : capture::kFamilies) {
    const bool v4 = family == Family::kIpv4;
    const capture::Packet packet{.source = IpAddress::Parse(v4 ? "192.0.2.9" : "2001:db8::9"),
                                 .destination = IpAddress::Parse(v4 ? "192.0.2.2" : "2001:db8::2"),
                                 .destination_port = 80,
                                 .in_interface = "eth0"};
    const FamilyState state = ToState(compiled.family(family));
    const auto land = [&](bool listens) {
      return EvaluatePrograms(state, family, capture::Hook::kPrerouting, packet, listens).verdict;
    };
    EXPECT_EQ(land(true), capture::Verdict(capture::TproxiedTo{15006}));
    EXPECT_EQ(land(false), capture::Verdict(capture::Dropped{}));
  }
}

TEST(Compile, LeavesOutWhatNoPacketMeetsAndConditionsThatAllMeet) {
  const auto chains =
      Compile(Nat({{.list = capture::RangeList{}},
                   {.in_interface = Not(std::string("+"))},
                   {.source = Is(Cidr()),
                    .in_interface = Is("+"),
                    .protocol = capture::Protocol::kTcp,
                    .matches = {capture::PortMatch{.source = Is(PortRange{0, 65535})}}}}))
          .chains;
  EXPECT_THAT(chains[0].rules,
              testing::ElementsAre(capture::Rule{.protocol = capture::Protocol::kTcp}));
}

TEST(Compile, RefusesToCopyAMarkThatIsNotKnown) {
  EXPECT_THROW(ToProgram({.target = capture::SaveConnmark{}}, Family::kIpv4, capture::Table::kNat),
               std::invalid_argument);
}

// A base chain of that name elsewhere would capture at another time, or not at all.
TEST(ToInstalled, SeesABaseChainInAnotherPlaceAsDifferent) {
  const auto compiled =
      Compile(capture::BuildRules(ConfigOf(testing_support::FindCase("defaults"))));
  FamilyState state = ToState(compiled.v4);
  const auto equal = [&] {
    return Equal(ToInstalled(state, Family::kIpv4, capture::Table::kNat),
                 compiled.v4.table(capture::Table::kNat));
  };
  EXPECT_TRUE(equal());
  for (ChainState& chain : state.chains) {
    if (chain.base) chain.base->priority = -100;
  }
  EXPECT_FALSE(equal());
}

}  // namespace
}  // namespace sluice::nftables
