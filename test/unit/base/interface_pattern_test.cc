// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/interface_pattern.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(InterfacePattern, EndsInPlusForAnyEnding) {
  EXPECT_TRUE(MatchesInterface("eth0", "eth0"));
  EXPECT_FALSE(MatchesInterface("eth0", "eth01"));
  EXPECT_TRUE(MatchesInterface("eth+", "eth01"));
  EXPECT_TRUE(MatchesInterface("eth+", "eth"));
  EXPECT_FALSE(MatchesInterface("eth+", "lo"));
  EXPECT_TRUE(MatchesInterface("+", "lo"));
  EXPECT_FALSE(MatchesInterface("", "lo"));
}

}  // namespace
}  // namespace sluice
