// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/cidr.h"

#include <stdexcept>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice {
namespace {

using testing::ElementsAre;

std::vector<Cidr> Parsed(std::initializer_list<const char*> texts) {
  std::vector<Cidr> out;
  for (const char* text : texts) out.push_back(Cidr::Parse(text));
  return out;
}

TEST(Cidr, ParsesBothFamilies) {
  EXPECT_EQ(Cidr::Parse("10.0.0.0/8").ToString(), "10.0.0.0/8");
  EXPECT_EQ(Cidr::Parse("2001:db8::/32").ToString(), "2001:db8::/32");
  EXPECT_EQ(Cidr::Parse("0.0.0.0/0"), Cidr());
}

TEST(Cidr, AnAddressAloneIsAHost) {
  EXPECT_EQ(Cidr::Parse("192.0.2.7").ToString(), "192.0.2.7/32");
  EXPECT_EQ(Cidr::Parse("::1").ToString(), "::1/128");
}

TEST(Cidr, DropsTheBitsBehindThePrefix) {
  EXPECT_EQ(Cidr::Parse("10.1.2.3/8"), Cidr::Parse("10.0.0.0/8"));
  EXPECT_EQ(Cidr::Parse("10.1.2.255/23").ToString(), "10.1.2.0/23");
  EXPECT_EQ(Cidr::Parse("2001:db8:ffff:ffff::/33").ToString(), "2001:db8:8000::/33");
}

TEST(Cidr, RefusesWhatIsNotARange) {
  for (const char* text :
       {"", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8x", "::/129", "10.0.0/8",
        "a", "10.0.0.0/8/8", "1.2.3.4 ", " 1.2.3.4", "01.2.3.4"}) {
    EXPECT_THROW(Cidr::Parse(text), std::invalid_argument) << text;
  }
}

TEST(Cidr, ContainsAddressesOfItsFamilyOnly) {
  const Cidr ten = Cidr::Parse("10.0.0.0/8");
  EXPECT_TRUE(ten.Contains(IpAddress::Parse("10.255.255.255")));
  EXPECT_FALSE(ten.Contains(IpAddress::Parse("11.0.0.0")));
  EXPECT_FALSE(ten.Contains(IpAddress::Parse("a00::")));
  EXPECT_FALSE(Cidr().Contains(IpAddress::Parse("::")));
  EXPECT_TRUE(ten.Contains(Cidr::Parse("10.1.0.0/16")));
  EXPECT_FALSE(Cidr::Parse("10.1.0.0/16").Contains(ten));
}

TEST(Aggregate, DropsWhatIsCovered) {
  EXPECT_THAT(Aggregate(Parsed({"10.1.0.0/16", "10.0.0.0/8", "10.2.3.4", "10.0.0.0/8"})),
              ElementsAre(Cidr::Parse("10.0.0.0/8")));
}

TEST(Aggregate, MergesNeighboursUpwards) {
  EXPECT_EQ(Aggregate(Parsed({"10.0.0.0/26", "10.0.0.64/26", "10.0.0.128/25"})),
            Parsed({"10.0.0.0/24"}));
  EXPECT_EQ(Aggregate(Parsed({"0.0.0.0/1", "128.0.0.0/1"})), Parsed({"0.0.0.0/0"}));
  EXPECT_EQ(Aggregate(Parsed({"::/1", "8000::/1"})), Parsed({"::/0"}));
}

TEST(Aggregate, KeepsNeighboursThatShareNoParent) {
  EXPECT_EQ(Aggregate(Parsed({"10.0.1.0/24", "10.0.2.0/24"})),
            Parsed({"10.0.1.0/24", "10.0.2.0/24"}));
}

TEST(Aggregate, KeepsFamiliesApart) {
  EXPECT_EQ(Aggregate(Parsed({"::/0", "0.0.0.0/0"})), Parsed({"0.0.0.0/0", "::/0"}));
}

}  // namespace
}  // namespace sluice
