// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/text/utc_time.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

using std::chrono::microseconds;
using std::chrono::system_clock;

TEST(UtcTimeTest, WithAndWithoutAFraction) {
  // date -u -d @1764184800
  const system_clock::time_point time(microseconds(1764184800'004'259));
  EXPECT_EQ(UtcTime(time), "2025-11-26T19:20:00Z");
  EXPECT_EQ(UtcTime(time, 3), "2025-11-26T19:20:00.004Z");
  EXPECT_EQ(UtcTime(time, 6), "2025-11-26T19:20:00.004259Z");
}

TEST(UtcTimeTest, BeforeItsEpoch) {
  const system_clock::time_point time(microseconds(-1));
  EXPECT_EQ(UtcTime(time, 6), "1969-12-31T23:59:59.999999Z");
}

}  // namespace
}  // namespace sluice
