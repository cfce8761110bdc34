// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/duration.h"

#include <stdexcept>

#include <gtest/gtest.h>

namespace sluice {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

TEST(Duration, IsNumbersWithUnits) {
  EXPECT_EQ(ParseDuration("500ms", hours(24)), milliseconds(500));
  EXPECT_EQ(ParseDuration("5s", hours(24)), milliseconds(5'000));
  EXPECT_EQ(ParseDuration("1m30s", hours(24)), milliseconds(90'000));
  EXPECT_EQ(ParseDuration("1h1m1s1ms", hours(24)), milliseconds(3'661'001));
  EXPECT_EQ(ParseDuration("24h", hours(24)), hours(24));
  EXPECT_EQ(ParseDuration("720h", hours(720)), hours(720));
}

TEST(Duration, IsInSecondsWithoutAUnit) {
  EXPECT_EQ(ParseDuration("3", hours(24)), milliseconds(3'000));
  EXPECT_EQ(ParseDuration("0", hours(24)), milliseconds(0));
}

TEST(Duration, SaysWhatIsRight) {
  for (const char* bad : {"", "s", "ms", "-1s", "+1s", "1 s", " 1s", "1d", "1.5s", "25h", "24h1ms",
                          "1s2", "1ss", "99999999999999999999s", "9223372036854775807"}) {
    try {
      ParseDuration(bad, hours(24));
      FAIL() << bad;
    } catch (const std::invalid_argument& error) {
      EXPECT_STREQ(error.what(), "a duration such as 500ms, 10s, 1m30s or 1h, at most 24h");
    }
  }
}

}  // namespace
}  // namespace sluice
