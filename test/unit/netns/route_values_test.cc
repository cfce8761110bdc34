// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "netns/route_values.h"

#include <stdexcept>

#include <gtest/gtest.h>

namespace sluice::netns {
namespace {

TEST(InterfaceAddressTest, KeepsTheBitsBehindThePrefix) {
  const auto address = InterfaceAddress::Parse("192.0.2.2/24");
  EXPECT_EQ(address.ToString(), "192.0.2.2/24");
  EXPECT_EQ(address.Subnet().ToString(), "192.0.2.0/24");
}

TEST(InterfaceAddressTest, AddressAloneIsAHost) {
  EXPECT_EQ(InterfaceAddress::Parse("::6").ToString(), "::6/128");
  EXPECT_EQ(InterfaceAddress::Parse("127.0.0.6").ToString(), "127.0.0.6/32");
  EXPECT_EQ(InterfaceAddress::Host(IpAddress::Parse("::6")), InterfaceAddress::Parse("::6/128"));
}

TEST(InterfaceAddressTest, RefusesWhatIsNone) {
  for (const auto* text :
       {"", "/24", "192.0.2.2/", "192.0.2.2/33", "::/129", "a/8", "1.2.3.4/-1"}) {
    EXPECT_THROW(InterfaceAddress::Parse(text), std::invalid_argument) << text;
  }
}

TEST(AddressEntryTest, PrintsAsIproute2Does) {
  const AddressEntry entry = {.link = "eth0",
                              .link_index = 2,
                              .address = InterfaceAddress::Parse("fd00::1/64"),
                              .tentative = true,
                              .no_dad = true};
  EXPECT_EQ(entry.ToString(), "fd00::1/64 scope global tentative nodad dev eth0");
}

TEST(RouteTest, PrintsAsIproute2Does) {
  EXPECT_EQ((Route{.destination = Cidr::Parse("0.0.0.0/0"),
                   .type = RouteType::kLocal,
                   .table = 133,
                   .next_hops = {{.device = "lo"}}})
                .ToString(),
            "local default dev lo table 133");
  EXPECT_EQ(
      (Route{.destination = Cidr::Parse("2001:db8::/32"),
             .next_hops = {{"a", IpAddress::Parse("fd00::1")}, {"b", IpAddress::Parse("fd00::2")}},
             .metric = 5})
          .ToString(),
      "2001:db8::/32 nexthop via fd00::1 dev a nexthop via fd00::2 dev b table 254 metric 5");
}

TEST(RouteTest, SatisfiesIgnoresOnlyWhatWasLeftToTheKernel) {
  const Route wanted = {.destination = Cidr::Parse("::/0"),
                        .next_hops = {{.gateway = IpAddress::Parse("fd00::1")}}};
  Route listed = wanted;
  listed.metric = 1024;
  listed.next_hops[0].device = "eth0";
  EXPECT_TRUE(Satisfies(listed, wanted));

  Route other = listed;
  other.table = 133;
  EXPECT_FALSE(Satisfies(other, wanted));
  other = listed;
  other.type = RouteType::kLocal;
  EXPECT_FALSE(Satisfies(other, wanted));
  other = listed;
  other.destination = Cidr::Parse("::/1");
  EXPECT_FALSE(Satisfies(other, wanted));
  other = listed;
  other.next_hops[0].gateway = IpAddress::Parse("fd00::2");
  EXPECT_FALSE(Satisfies(other, wanted));
  other = listed;
  other.next_hops.push_back(listed.next_hops[0]);
  EXPECT_FALSE(Satisfies(other, wanted));

  Route wanted_metric = wanted;
  wanted_metric.metric = 7;
  EXPECT_FALSE(Satisfies(listed, wanted_metric));
  Route wanted_device = wanted;
  wanted_device.next_hops = {{.device = "eth1"}};
  EXPECT_FALSE(Satisfies(listed, wanted_device));
}

TEST(PolicyRuleTest, PrintsAsIproute2Does) {
  const PolicyRule rule = {
      .family = Family::kIpv4, .priority = 5, .mark = 1337, .mask = 0xffffffff, .table = 133};
  EXPECT_EQ(rule.ToString(), "5: from all fwmark 0x539/0xffffffff lookup 133 (IPv4)");
  PolicyRule more = rule;
  more.has_more = true;
  EXPECT_NE(more, rule);
  EXPECT_EQ(more.ToString(), "5: from all fwmark 0x539/0xffffffff lookup 133 and more (IPv4)");
}

}  // namespace
}  // namespace sluice::netns
