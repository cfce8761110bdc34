// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "netns/host.h"

#include <gtest/gtest.h>

namespace sluice::init {
namespace {

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

}  // namespace
}  // namespace sluice::init
