// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/mtls/outbound_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/error_of.h"

namespace sluice::proxy {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing_support::ErrorOf;

SocketAddress To(const char* address, std::uint16_t port) {
  return {IpAddress::Parse(address), port};
}

TEST(OutboundPolicyTest, FindsTheFirstLineThatFits) {
  const OutboundPolicy policy = OutboundPolicy::Parse(
      "# who answers\n"
      "\n"
      "10.96.0.10\t80,8080-8089  spiffe://cluster.local/ns/shop/sa/cart\r\n"
      "  10.96.0.0/16 80 spiffe://cluster.local/ns/*/sa/*\tspiffe://east.example/** # both\n"
      "10.96.0.10 * spiffe://cluster.local/ns/shop/sa/till\n"
      "fd00:10::/64 443 spiffe://cluster.local/ns/shop/sa/cart",
      "policy");
  ASSERT_EQ(policy.rules().size(), 4U);
  const struct {
    SocketAddress to;
    std::size_t line;  // 0: none
  } cases[] = {
      {To("10.96.0.10", 80), 3},   {To("10.96.0.10", 8080), 3}, {To("10.96.0.10", 8089), 3},
      {To("10.96.0.10", 8090), 5}, {To("10.96.0.10", 1), 5},    {To("10.96.0.10", 65535), 5},
      {To("10.96.0.11", 80), 4},   {To("10.96.0.11", 81), 0},   {To("10.97.0.10", 80), 0},
      {To("fd00:10::1", 443), 6},  {To("fd00:10::1", 80), 0},   {To("fd00:11::1", 443), 0},
      {To("::a60:a", 80), 0},
  };
  for (const auto& [to, line] : cases) {
    const OutboundRule* const rule = policy.Find(to);
    EXPECT_EQ(rule == nullptr ? 0 : rule->line, line) << to;
  }
  ASSERT_EQ(policy.rules()[1].peer->ids.size(), 2U);
  EXPECT_EQ(policy.rules()[1].peer->ids.back().ToString(), "spiffe://east.example/**");
  EXPECT_EQ(policy.rules()[1].peer->ServerName(80), "");
}

TEST(OutboundPolicyTest, NamesAServiceAsIstioDoes) {
  const OutboundPolicy policy = OutboundPolicy::Parse(
      "10.96.0.10 80 host=cart.shop.svc.cluster.local spiffe://a/b", "policy");
  const OutboundPeer& peer = *policy.rules().at(0).peer;
  EXPECT_EQ(peer.ids.size(), 1U);
  const std::string name = peer.ServerName(80);
  EXPECT_EQ(name, "outbound_.80_._.cart.shop.svc.cluster.local");
  EXPECT_EQ(HostOfServerName(name), "cart.shop.svc.cluster.local");
  EXPECT_EQ(HostOfServerName("cart.shop"), "");
  EXPECT_EQ(HostOfServerName("outbound_.80"), "");
}

TEST(OutboundPolicyTest, MayBeEmpty) {
  EXPECT_EQ(OutboundPolicy().Find(To("10.0.0.1", 80)), nullptr);
  EXPECT_TRUE(OutboundPolicy::Parse("# nothing\n\n \t\n", "policy").rules().empty());
}

TEST(OutboundPolicyTest, SaysWhereItIsWrong) {
  const struct {
    const char* text;
    const char* where;
    const char* why;
  } cases[] = {
      {"cart 80 spiffe://a/b", "policy:1:1", "\"cart\""},
      {"\n 10.0.0.0/33 80 spiffe://a/b", "policy:2:2", "\"10.0.0.0/33\""},
      {"10.0.0.1 80 host=a_b spiffe://a/b", "policy:1:13", "a DNS name"},
      {"10.0.0.1 80 host= spiffe://a/b", "policy:1:13", "a DNS name"},
      {"10.0.0.1 80 host=a", "policy:1:19", "the SPIFFE ID is missing"},
      {"10.0.0.1 80 host=a host=b spiffe://a/b", "policy:1:20", "\"host=b\""},
      {"10.0.0.1 80 spiffe://a/b host=a", "policy:1:26", "\"host=a\""},
      {"10.0.0.1:80 spiffe://a/b", "policy:1:1", "\"10.0.0.1:80\""},
      {"::ffff:10.0.0.1 80 spiffe://a/b", "policy:1:1", "such as 10.0.0.1"},
      {"10.0.0.1 spiffe://a/b", "policy:1:10", "\"spiffe://a/b\""},
      {"10.0.0.1 0 spiffe://a/b", "policy:1:10", "\"0\""},
      {"10.0.0.1 90-80 spiffe://a/b", "policy:1:10", "\"90-80\""},
      {"10.0.0.1 , spiffe://a/b", "policy:1:10", "\",\""},
      {"10.0.0.1", "policy:1:9", "the list of ports is missing"},
      {"10.0.0.1 80", "policy:1:12", "the SPIFFE ID is missing"},
      {"10.0.0.1 80 # later", "policy:1:13", "the SPIFFE ID is missing"},
      {"10.0.0.1 80 *", "policy:1:13", "\"*\""},
      {"10.0.0.1 80 spiffe://a/b spiffe://*/b", "policy:1:26", "trust domain"},
      {"10.0.0.1 80 spiffe://a/b#c", "policy:1:13", "segments"},
      {"10.0.0.1 80 spiffe://a/b\n\n10.0.0.1 80 spiffe://a/c", "policy:3:1", "line 1 decides"},
      {"10.0.0.0/8 * spiffe://a/b\n 10.1.0.0/16 80,443 spiffe://a/c", "policy:2:2",
       "line 1 decides"},
  };
  for (const auto& [text, where, why] : cases) {
    const Error error = ErrorOf([&] { OutboundPolicy::Parse(text, "policy"); });
    EXPECT_EQ(error.kind(), ErrorKind::kUsage) << text;
    EXPECT_EQ(error.text().target, where) << text << ": " << error.what();
    EXPECT_THAT(error.what(), HasSubstr(why)) << text;
  }
}

TEST(OutboundPolicyTest, IsBounded) {
  std::string text;
  for (int i = 0; i < 1025; ++i) {
    text +=
        "10.0." + std::to_string(i / 256) + "." + std::to_string(i % 256) + " 80 spiffe://a/b\n";
  }
  const Error error = ErrorOf([&] { OutboundPolicy::Parse(text, "policy"); });
  EXPECT_THAT(error.what(), AllOf(HasSubstr("policy:1025:1"), HasSubstr("1024")));
}

}  // namespace
}  // namespace sluice::proxy
