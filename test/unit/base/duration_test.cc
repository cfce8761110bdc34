// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/duration.h"

#include <cstdint>
#include <stdexcept>
#include <string>

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

TEST(Duration, HasFractionsAsInGo) {
  const struct {
    const char* text;
    std::int64_t milliseconds;
  } cases[] = {
      {"1.5s", 1'500},
      {"2m30s", 150'000},
      {".5s", 500},
      {"5.s", 5'000},
      {"1.5h", 5'400'000},
      {"1.5h.5m", 5'430'000},
      {"0.25m", 15'000},
      {"0.0078125h", 28'125},
      {"0.03125m", 1'875},
      {"1.000000000000000000000s", 1'000},
      {"0.001s", 1},
      {"1.0ms", 1},
      {"5000us", 5},
      {"5000\u00b5s", 5},
      {"5000\u03bcs", 5},
      {"5000000ns", 5},
      {"0.5ms0.5ms", 1},
      {"1.0005s500us", 1'001},
      {"1.5", 1'500},
      {".5", 500},
      {"0.000000s", 0},
      {"23.999h3.6s", 86'400'000},
      {"00000000000000000000000000001s", 1'000},
  };
  for (const auto& [text, expected] : cases) {
    EXPECT_EQ(ParseDuration(text, hours(24)), milliseconds(expected)) << text;
  }
}

// All durations of a minute, as seconds and as minutes.
TEST(Duration, LosesNothingOfAFraction) {
  for (int value = 0; value <= 60'000; ++value) {
    const std::string rest = std::to_string(1'000 + value % 1'000).substr(1);
    ASSERT_EQ(ParseDuration(std::to_string(value / 1'000) + "." + rest + "s", hours(24)),
              milliseconds(value));
    // 6 ms are a ten-thousandth of a minute.
    if (value % 6 != 0) continue;
    const std::string of_a_minute = std::to_string(10'000 + value / 6 % 10'000).substr(1);
    ASSERT_EQ(ParseDuration(std::to_string(value / 60'000) + "." + of_a_minute + "m", hours(24)),
              milliseconds(value));
  }
}

std::string WhatItSays(const std::string& text, hours max = hours(24)) {
  try {
    ParseDuration(text, max);
    return "nothing";
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
}

TEST(Duration, SaysWhatIsRight) {
  for (const char* const bad :
       {"",      "s",    "ms",    "-1s",  "+1s", "1 s",   " 1s",     "1s ",
        "1d",    "1s2",  "1s2.5", "1ss",  ".",   ".s",    "1..5s",   "1.5.5s",
        "1.-5s", "1e3s", "1,5s",  "0x1s", "1S",  "1.5sx", "1\u00b5", "inf"}) {
    EXPECT_EQ(WhatItSays(bad), "a duration such as 500ms, 1.5s, 1m30s or 1h, at most 24h") << bad;
  }
  for (const char* const large :
       {"25h", "24h1ms", "24.0001h", "86400.001s", "99999999999999999999s", "9223372036854775807",
        "9223372036854775807ns", "1h99999999999999999999.5ns"}) {
    EXPECT_EQ(WhatItSays(large), "a duration of at most 24h") << large;
  }
  EXPECT_EQ(WhatItSays("219000.1h", hours(219'000)), "a duration of at most 219000h");
  for (const char* const fine :
       {"1.5ms", "0.0005s", "1ns", "999us", "1m0.0001s", "0.3333333333333h",
        "0.00000000000000000001h", "1.0000000000000000001s"}) {
    EXPECT_EQ(WhatItSays(fine),
              "a duration of whole milliseconds, such as 1.5s or 1500ms, at most 24h")
        << fine;
  }
}

}  // namespace
}  // namespace sluice
