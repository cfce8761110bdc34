// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Messages of a Linux 6.18, as they came.
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "capture/explain/walk.h"
#include "trace/attribution.h"
#include "trace/event.h"
#include "trace/packets.h"

namespace sluice::trace {
namespace {

using capture::Protocol;
using capture::explain::Landing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::uint8_t> FromHex(std::string_view text) {
  std::vector<std::uint8_t> out;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    out.push_back(
        static_cast<std::uint8_t>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16)));
  }
  return out;
}

SocketAddress At(const char* ip, std::uint16_t port) { return {IpAddress::Parse(ip), port}; }

// UDP, redirected to port 15053.
constexpr std::string_view kRedirected =
    "9c000000000100060000000000000000020000003400018014000180080001000a000001080002000affff351c0002"
    "80050001001100000006000200d31e000006000300003500003400028014000180080001007f000001080002000a00"
    "00011c0002800500010011000000060002003acd000006000300d31e0000060012000002000008000c0081ecf4bf08"
    "000300000001a8080007000000001e";
// TCP to [::1]:82.
constexpr std::string_view kDirectV6 =
    "f40000000001000600000000000000000a0000004c0001802c00018014000300000000000000000000000000000000"
    "0114000400000000000000000000000000000000011c000280050001000600000006000200b1800000060003000052"
    "00004c0002802c00018014000300000000000000000000000000000000011400040000000000000000000000000000"
    "0000011c0002800500010006000000060002000052000006000300b180000008000c00dfc171e00800030000000188"
    "0800070000000078300004802c0001800500010001000000050002000a00000005000300000000000600040003000"
    "0000600050000000000";
// The first step of nat/OUTPUT: "counter jump nat/ISTIO_OUTPUT".
constexpr std::string_view kJump =
    "d0000000110a000000000000000000000200000008000f000000000208000400000000030800060082ca1c160f0002"
    "006e61742f4f555450555400000b000100736c7569636500000c00030000000000000000152400050008000100ffff"
    "fffd150002006e61742f495354494f5f4f55545055540000000008000c000000000106000d00030400001800080045"
    "00003cadb2400040068f077f0000017f00000118000900e0a00051990fcfc600000000a002ffd7fe30000008001500"
    "000000080500130000000000080012005d065839";
constexpr std::string_view kPolicy =
    "50000000110a000000000000000000000200000008000f000000000208000400000000010800060082ca1c160f0002"
    "006e61742f4f555450555400000b000100736c7569636500000800100000000001";
constexpr std::string_view kSocket =
    "7c0000001400000007000000051700000201000086a600537f0000010000000000000000000000007f000001000000"
    "00000000000000000000000000ed1100000000000000000000000000000000000000000000a09a9304050008000000"
    "000008000f00000000000c00150001000000000000000600160052000000";

nftables::Message MessageOf(const std::vector<std::uint8_t>& bytes) {
  Bytes left(bytes);
  const auto message = nftables::TakeMessage(left);
  EXPECT_TRUE(message);
  EXPECT_TRUE(left.empty());
  return message.value_or(nftables::Message());
}

TEST(TraceEvent, AConnectionThatWasRedirected) {
  const auto bytes = FromHex(kRedirected);
  const auto inside = nftables::OfNetfilter(MessageOf(bytes));
  ASSERT_TRUE(inside);
  const auto event = DecodeNewConnection(inside->attributes);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->original,
            (Tuple{Protocol::kUdp, At("10.0.0.1", 54046), At("10.255.255.53", 53)}));
  EXPECT_EQ(event->reply, (Tuple{Protocol::kUdp, At("127.0.0.1", 15053), At("10.0.0.1", 54046)}));
  EXPECT_TRUE(event->redirected());
}

TEST(TraceEvent, AConnectionOfIpv6) {
  const auto bytes = FromHex(kDirectV6);
  const auto event = DecodeNewConnection(nftables::OfNetfilter(MessageOf(bytes))->attributes);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->original, (Tuple{Protocol::kTcp, At("::1", 45440), At("::1", 82)}));
  EXPECT_FALSE(event->redirected());
}

TEST(TraceEvent, StepsThroughTheRules) {
  const auto bytes = FromHex(kJump);
  const auto inside = nftables::OfNetfilter(MessageOf(bytes));
  const auto step = DecodeTraceEvent(inside->family, inside->attributes);
  ASSERT_TRUE(step);
  EXPECT_EQ(step->type, TraceEvent::Type::kRule);
  EXPECT_EQ(step->table, "sluice");
  EXPECT_EQ(step->chain, "nat/OUTPUT");
  EXPECT_EQ(step->handle, 0x15U);
  EXPECT_EQ(step->verdict, -3);
  EXPECT_EQ(step->tuple, (Tuple{Protocol::kTcp, At("127.0.0.1", 57504), At("127.0.0.1", 81)}));
  const auto end = FromHex(kPolicy);
  const auto policy = DecodeTraceEvent(2, nftables::OfNetfilter(MessageOf(end))->attributes);
  ASSERT_TRUE(policy);
  EXPECT_EQ(policy->type, TraceEvent::Type::kPolicy);
  EXPECT_EQ(policy->verdict, 1);
  EXPECT_EQ(policy->id, step->id);
  EXPECT_FALSE(policy->tuple);
}

TEST(TraceEvent, Sockets) {
  const auto bytes = FromHex(kSocket);
  const auto found = DecodeSocket(MessageOf(bytes).payload, Protocol::kTcp);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->tuple, (Tuple{Protocol::kTcp, At("127.0.0.1", 34470), At("127.0.0.1", 83)}));
  EXPECT_EQ(found->uid, 0U);
  EXPECT_NE(found->inode, 0U);
  EXPECT_FALSE(found->listens);
}

TEST(TraceEvent, NothingIsTakenFromWhatIsCutShort) {
  for (const std::string_view text : {kRedirected, kJump, kSocket}) {
    const auto whole = FromHex(text);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const std::vector<std::uint8_t> part(whole.begin(),
                                           whole.begin() + static_cast<std::ptrdiff_t>(size));
      Bytes left(part);
      EXPECT_FALSE(nftables::TakeMessage(left)) << size;
      static_cast<void>(DecodeNewConnection(left));
      static_cast<void>(DecodeTraceEvent(2, left));
      static_cast<void>(DecodeSocket(left, Protocol::kTcp));
    }
  }
}

// --- putting them together ---
const Tuple kFlow{Protocol::kTcp, At("10.0.0.1", 40000), At("198.51.100.1", 80)};

TraceEvent Begin(std::uint32_t id, const Tuple& tuple = kFlow) {
  return {.type = TraceEvent::Type::kRule,
          .id = id,
          .table = std::string(kTableNames) + "7",
          .chain = "output-tcp",
          .handle = 2,
          .verdict = -1,
          .tuple = tuple};
}
TraceEvent Rule(std::uint32_t id, std::uint64_t handle, std::int32_t verdict) {
  return {.type = TraceEvent::Type::kRule,
          .id = id,
          .table = "sluice",
          .chain = "nat/ISTIO_OUTPUT",
          .handle = handle,
          .verdict = verdict};
}

TEST(TracePackets, StepsGoToTheConnectionOfTheirPacket) {
  Packets packets;
  const Tuple other{Protocol::kTcp, At("10.0.0.1", 40001), At("198.51.100.1", 80)};
  EXPECT_FALSE(packets.Add(Rule(1, 9, -5))) << "a packet that has not begun";
  EXPECT_FALSE(packets.Add(Begin(1)));
  EXPECT_FALSE(packets.Add(Begin(2, other)));
  EXPECT_FALSE(packets.Add(Rule(2, 5, -5)));
  EXPECT_FALSE(packets.Add(Rule(1, 6, -5)));
  const Seen first = packets.Add(NewConnection{kFlow, kFlow});
  ASSERT_EQ(first.steps.size(), 2U);
  EXPECT_EQ(first.steps[1].handle, 6U);
  EXPECT_THAT(packets.Add(NewConnection{kFlow, kFlow}).steps, IsEmpty()) << "taken twice";
  // The number of a packet is used again.
  EXPECT_FALSE(packets.Add(Begin(2, other)));
  EXPECT_EQ(packets.Add(NewConnection{other, other}).steps.size(), 1U);
}

TEST(TracePackets, WhatIsDroppedIsToldOnce) {
  Packets packets;
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(packets.Add(Begin(1)));
    const auto seen = packets.Add(Rule(1, 6, 0));
    EXPECT_EQ(seen.has_value(), i == 0) << "a packet that is sent again";
    EXPECT_TRUE(!seen || seen->dropped());
  }
}

TEST(TracePackets, ItsMemoryIsBounded) {
  Packets packets;
  std::uint32_t id = 0;
  for (; id < 10 * Packets::kMostPackets; ++id) {
    Tuple tuple = kFlow;
    tuple.from.port = static_cast<std::uint16_t>(id);
    packets.Add(Begin(id, tuple));
  }
  EXPECT_THAT(packets.Add(NewConnection{kFlow, kFlow}).steps, IsEmpty()) << "the first is kept";
  packets.Add(Begin(++id));
  for (std::size_t i = 0; i < 2 * Packets::kMostSteps; ++i) packets.Add(Rule(id, 6, -1));
  EXPECT_EQ(packets.Add(NewConnection{kFlow, kFlow}).steps.size(), Packets::kMostSteps);
}

// --- the attribution ---
class TraceAttribution : public ::testing::Test {
 protected:
  TraceAttribution() {
    using namespace capture::explain;
    ModelChain base{.name = "nat/OUTPUT", .rules = {}};
    base.base = BaseHook{.hook = HookPoint::kOutput, .priority = -99, .nat = true};
    ModelChain chain{.name = "nat/ISTIO_OUTPUT", .rules = {}};
    chain.ours = true;
    ModelRule let_go;
    let_go.handle = 6;
    ModelRule redirect;
    redirect.handle = 7;
    redirect.program = {NatTo{.to_self = true}};
    chain.rules = {let_go, redirect};
    model_.tables.push_back({.backend = "nftables", .name = "sluice", .chains = {base, chain}});
  }

  Attributor Make() {
    return Attributor(model_, [](Landing landing) {
      return landing == Landing::kOutbound ? std::uint16_t{15001} : std::uint16_t{0};
    });
  }
  static Seen SeenAs(const SocketAddress& landed, std::vector<TraceEvent> steps) {
    TraceEvent base = Rule(1, 0, -3);
    base.chain = "nat/OUTPUT";
    base.type = TraceEvent::Type::kPolicy;
    steps.insert(steps.begin(), {Begin(1), base});
    return {.original = kFlow, .reply = Tuple{kFlow.protocol, landed, kFlow.from}, .steps = steps};
  }
  capture::explain::Outcome OutcomeOf(Landing landing) {
    capture::explain::Outcome out;
    out.landing = landing;
    out.destination = kFlow.to;
    return out;
  }

  capture::explain::Model model_;
};

TEST_F(TraceAttribution, TheRuleOfTheTraceComesBeforeTheExplanation) {
  const auto attributor = Make();
  const auto attribution = attributor.Of(SeenAs(At("127.0.0.1", 15001), {Rule(1, 7, 1)}), {}, true);
  EXPECT_EQ(attribution.landing, Landing::kOutbound);
  EXPECT_EQ(attribution.port, 15001);
  EXPECT_EQ(attribution.known_by, KnownBy::kTrace);
  ASSERT_TRUE(attribution.decided);
  EXPECT_EQ(attribution.decided->rule, 1U);
  EXPECT_FALSE(attribution.stale);
}

TEST_F(TraceAttribution, ALocalPortThatIsNoListenerIsARuleOfOthers) {
  const auto attribution = Make().Of(SeenAs(At("127.0.0.1", 999), {Rule(1, 7, 1)}), {}, true);
  EXPECT_EQ(attribution.landing, Landing::kDirect);
  EXPECT_EQ(attribution.port, 0);
  EXPECT_THAT(attribution.notes, ElementsAre(HasSubstr("127.0.0.1:999")));
  // Another host's port 15001 is no listener.
  EXPECT_EQ(Make().Of(SeenAs(At("10.1.1.1", 15001), {Rule(1, 7, 1)}), {}, false).landing,
            Landing::kDirect);
}

TEST_F(TraceAttribution, AReturnLetsItGo) {
  const auto attribution = Make().Of(SeenAs(kFlow.to, {Rule(1, 6, -5)}), {}, false);
  EXPECT_EQ(attribution.landing, Landing::kDirect);
  ASSERT_TRUE(attribution.decided);
  EXPECT_EQ(attribution.decided->rule, 0U);
  EXPECT_EQ(attribution.known_by, KnownBy::kTrace);
}

TEST_F(TraceAttribution, RulesThatHaveChangedAreReadAgain) {
  EXPECT_TRUE(Make().Of(SeenAs(kFlow.to, {Rule(1, 1234, -5)}), {}, false).stale);
}

TEST_F(TraceAttribution, OfSeveralWaysThatConntrackAllowsNoneIsGuessed) {
  capture::explain::Explanation explanation;
  auto tproxied = OutcomeOf(Landing::kInbound);
  tproxied.tproxied = true;
  tproxied.port = 15006;
  const Seen seen{.original = kFlow, .reply = Tuple{kFlow.protocol, kFlow.to, kFlow.from}};
  explanation.candidates = {OutcomeOf(Landing::kDirect), tproxied};
  EXPECT_EQ(Make().Of(seen, explanation, false).landing, Landing::kUnknown);
  explanation.candidates = {tproxied};
  const auto attribution = Make().Of(seen, explanation, false);
  EXPECT_EQ(attribution.landing, Landing::kInbound);
  EXPECT_EQ(attribution.port, 15006);
  EXPECT_EQ(attribution.known_by, KnownBy::kExplanation);
  // What ends elsewhere is no explanation.
  auto redirected = OutcomeOf(Landing::kOutbound);
  redirected.nat = true;
  redirected.destination = At("127.0.0.1", 15001);
  explanation.candidates = {redirected};
  const auto none = Make().Of(seen, explanation, false);
  EXPECT_TRUE(none.stale);
  EXPECT_EQ(none.known_by, KnownBy::kNothing);
}

}  // namespace
}  // namespace sluice::trace
