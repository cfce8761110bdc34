// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/ip_address.h"

#include <stdexcept>
#include <string_view>

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(IpAddress, RoundTripsCanonicalText) {
  for (const char* text : {"0.0.0.0", "127.0.0.6", "255.255.255.255", "::", "::6", "2001:db8::1"}) {
    EXPECT_EQ(IpAddress::Parse(text).ToString(), text);
  }
  EXPECT_EQ(IpAddress::Parse("2001:DB8:0:0::1").ToString(), "2001:db8::1");
}

TEST(IpAddress, RefusesWhatIsNotAnAddress) {
  using std::string_view_literals::operator""sv;
  for (std::string_view text : {""sv, "1.2.3"sv, "1.2.3.256"sv, "1.2.3.4."sv, "1.2.3.4\0"sv,
                                "::1%lo"sv, "12345::"sv, "localhost"sv}) {
    EXPECT_THROW(IpAddress::Parse(text), std::invalid_argument) << text;
  }
}

TEST(IpAddress, KnowsTheSpecialRanges) {
  EXPECT_TRUE(IpAddress::Parse("127.1.2.3").IsLoopback());
  EXPECT_TRUE(IpAddress::Parse("::1").IsLoopback());
  EXPECT_FALSE(IpAddress::Parse("::6").IsLoopback());
  EXPECT_FALSE(IpAddress::Parse("7f00::1").IsLoopback());
  EXPECT_TRUE(IpAddress::Parse("febf::1").IsLinkLocal());
  EXPECT_FALSE(IpAddress::Parse("fec0::1").IsLinkLocal());
  EXPECT_TRUE(IpAddress::Parse("169.254.1.1").IsLinkLocal());
  EXPECT_TRUE(IpAddress::Parse("239.0.0.1").IsMulticast());
  EXPECT_TRUE(IpAddress::Parse("ff02::1").IsMulticast());
  EXPECT_TRUE(IpAddress::Parse("::").IsUnspecified());
  EXPECT_FALSE(IpAddress::Parse("::1").IsUnspecified());
}

TEST(IpAddress, UnmapsV4) {
  EXPECT_EQ(IpAddress::Parse("::ffff:192.0.2.1").Unmapped(), IpAddress::V4(192, 0, 2, 1));
  EXPECT_EQ(IpAddress::Parse("::fffe:192.0.2.1").Unmapped(), IpAddress::Parse("::fffe:192.0.2.1"));
}

TEST(IpAddress, OrdersByFamilyThenNumber) {
  EXPECT_LT(IpAddress::Parse("255.0.0.0"), IpAddress::Parse("::"));
  EXPECT_LT(IpAddress::Parse("9.0.0.0"), IpAddress::Parse("10.0.0.0"));
}

}  // namespace
}  // namespace sluice
