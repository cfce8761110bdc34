// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "netns/host.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::init {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

IpAddress Ip(const char* text) { return IpAddress::Parse(text); }

TEST(ResolvConf, IsThatOfTheNetworkNamespace) {
  EXPECT_EQ(netns::ResolvConfOf(""), "/etc/resolv.conf");
  EXPECT_EQ(netns::ResolvConfOf("blue"), "/etc/netns/blue/resolv.conf");
  EXPECT_EQ(netns::ResolvConfOf("/run/netns/blue"), "/etc/netns/blue/resolv.conf");
  EXPECT_EQ(netns::ResolvConfOf("/var/run/netns/cni-1"), "/etc/netns/cni-1/resolv.conf");
  EXPECT_EQ(netns::ResolvConfOf("pid:12"), "/proc/12/root/etc/resolv.conf");
  EXPECT_EQ(netns::ResolvConfOf("/proc/12/ns/net"), "/proc/12/root/etc/resolv.conf");
  EXPECT_EQ(netns::ResolvConfOf("/proc/12/task/13/ns/net"), "/proc/12/root/etc/resolv.conf");
  EXPECT_EQ(netns::ResolvConfOf("/proc/12/fd/3"), "");
  EXPECT_EQ(netns::ResolvConfOf("/tmp/blue"), "");
}

TEST(Nameservers, AreFoundInTheirOrder) {
  EXPECT_THAT(netns::ParseNameservers("search default.svc.cluster.local svc.cluster.local\n"
                                      "nameserver 10.96.0.10\n"
                                      "nameserver 2001:db8::1\n"
                                      "options ndots:5\n"),
              ElementsAre(Ip("10.96.0.10"), Ip("2001:db8::1")));
}

TEST(Nameservers, TolerateWhatTheResolverTolerates) {
  EXPECT_THAT(netns::ParseNameservers("  nameserver\t10.96.0.10   # the cluster's\n"
                                      "nameserver fe80::1%eth0\n"
                                      "nameserver 10.96.0.10\n"
                                      "nameserver 192.0.2.53"),
              ElementsAre(Ip("10.96.0.10"), Ip("fe80::1"), Ip("192.0.2.53")));
}

TEST(Nameservers, PassOverEverythingElse) {
  EXPECT_THAT(netns::ParseNameservers(""), IsEmpty());
  EXPECT_THAT(netns::ParseNameservers("# nameserver 10.96.0.10\n"
                                      "; nameserver 10.96.0.10\n"
                                      "nameserver\n"
                                      "nameserver dns.example\n"
                                      "nameserver 10.96.0\n"
                                      "nameservers 10.96.0.10\n"
                                      "NAMESERVER 10.96.0.10\n"),
              IsEmpty());
}

}  // namespace
}  // namespace sluice::init
