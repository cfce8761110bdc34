// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "tls/spiffe_id.h"

#include <stdexcept>

#include <gtest/gtest.h>

namespace sluice::tls {
namespace {

TEST(SpiffeId, HasADomainAndAPath) {
  const SpiffeId id = SpiffeId::Parse("spiffe://cluster.local/ns/shop/sa/cart");
  EXPECT_EQ(id.trust_domain(), "cluster.local");
  EXPECT_EQ(id.path(), "/ns/shop/sa/cart");
  EXPECT_EQ(id.ToString(), "spiffe://cluster.local/ns/shop/sa/cart");
  EXPECT_EQ(id, SpiffeId::Parse(id.ToString()));
  EXPECT_NE(id, SpiffeId::Parse("spiffe://cluster.local/ns/shop/sa/Cart"));
}

TEST(SpiffeId, RefusesWhatTheStandardDoes) {
  for (const std::string_view text : {
           std::string_view(""),
           std::string_view("spiffe://"),
           std::string_view("spiffe://a"),
           std::string_view("spiffe://a/"),
           std::string_view("spiffe:///x"),
           std::string_view("SPIFFE://a/x"),
           std::string_view("https://a/x"),
           std::string_view(" spiffe://a/x"),
           std::string_view("spiffe://a/x\n"),
           std::string_view("spiffe://A/x"),
           std::string_view("spiffe://a:443/x"),
           std::string_view("spiffe://user@a/x"),
           std::string_view("spiffe://a/x/"),
           std::string_view("spiffe://a//x"),
           std::string_view("spiffe://a/./x"),
           std::string_view("spiffe://a/../x"),
           std::string_view("spiffe://a/x%2fy"),
           std::string_view("spiffe://a/x?y"),
           std::string_view("spiffe://a/x#y"),
           std::string_view("spiffe://a/*"),
           std::string_view("spiffe://a/\xc3\xa4"),
           std::string_view("spiffe://a/x\0y", 14),
       }) {
    EXPECT_THROW(SpiffeId::Parse(text), std::invalid_argument) << text;
  }
}

TEST(SpiffeId, IsOfALimitedLength) {
  const std::string start = "spiffe://a/";
  const std::string longest = start + std::string(kMaxSpiffeIdBytes - start.size(), 'x');
  EXPECT_EQ(SpiffeId::Parse(longest).ToString(), longest);
  EXPECT_THROW(SpiffeId::Parse(longest + "x"), std::invalid_argument);
  const std::string domain(kMaxTrustDomainBytes, 'd');
  EXPECT_EQ(SpiffeId::Parse("spiffe://" + domain + "/x").trust_domain(), domain);
  EXPECT_THROW(SpiffeId::Parse("spiffe://" + domain + "d/x"), std::invalid_argument);
}

TEST(SpiffePattern, MatchesSegmentBySegment) {
  const SpiffeId id = SpiffeId::Parse("spiffe://cluster.local/ns/shop/sa/cart");
  for (const char* text :
       {"spiffe://cluster.local/ns/shop/sa/cart", "spiffe://cluster.local/ns/shop/sa/*",
        "spiffe://cluster.local/ns/*/sa/cart", "spiffe://cluster.local/*/*/*/*",
        "spiffe://cluster.local/ns/shop/**", "spiffe://cluster.local/**",
        "spiffe://cluster.local/ns/shop/sa/**"}) {
    EXPECT_TRUE(SpiffePattern::Parse(text).Matches(id)) << text;
  }
  for (const char* text :
       {"spiffe://cluster.local/ns/shop/sa/car", "spiffe://cluster.local/ns/shop/sa/cart2",
        "spiffe://cluster.local/ns/shop/sa", "spiffe://cluster.local/ns/shop/*",
        "spiffe://cluster.local/*", "spiffe://cluster.local/ns/shop/sa/cart/*",
        "spiffe://cluster.local/ns/shop/sa/cart/**", "spiffe://other.local/**",
        "spiffe://cluster.local.evil/ns/shop/sa/cart", "spiffe://cluster.local/ns/Shop/sa/cart"}) {
    EXPECT_FALSE(SpiffePattern::Parse(text).Matches(id)) << text;
  }
}

TEST(SpiffePattern, RefusesWhatCouldMeanMoreThanItSays) {
  for (const char* text : {"*", "spiffe://*/x", "spiffe://*.local/x", "spiffe://a", "spiffe://a/x*",
                           "spiffe://a/**/x", "spiffe://a/***", "spiffe://a/", "spiffe://a/x/"}) {
    EXPECT_THROW(SpiffePattern::Parse(text), std::invalid_argument) << text;
  }
}

}  // namespace
}  // namespace sluice::tls
