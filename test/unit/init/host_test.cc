#include "netns/host.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::init {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

IpAddress Ip(const char* text) { return IpAddress::Parse(text); }

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
