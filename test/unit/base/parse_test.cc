// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/parse.h"

#include <limits>
#include <stdexcept>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(ParseNumber, TakesTheWholeRange) {
  EXPECT_EQ(ParseNumber("0", 0, 4294967295), 0U);
  EXPECT_EQ(ParseNumber("4294967295", 0, 4294967295), 4294967295U);
  EXPECT_EQ(ParseNumber("18446744073709551615", 0, std::numeric_limits<std::uint64_t>::max()),
            std::numeric_limits<std::uint64_t>::max());
}

TEST(ParseNumber, RefusesEverythingElse) {
  for (const char* text : {"", " 1", "1 ", "+1", "-1", "0xb", "0x", "0x-1", "x1", "1.0", "1e3",
                           "18446744073709551616", "11"}) {
    EXPECT_THROW(ParseNumber(text, 0, 10), std::invalid_argument) << text;
  }
  EXPECT_THROW(ParseNumber("0", 1, 10), std::invalid_argument);
}

TEST(ParseNumber, TakesHexadecimal) {
  EXPECT_EQ(ParseNumber("0x4d", 0, 100), 77U);
  EXPECT_EQ(ParseNumber("0XFFFFFFFF", 0, 4294967295), 4294967295U);
  EXPECT_THROW(ParseDecimal("0x4d", 0, 100), std::invalid_argument);
  EXPECT_EQ(ParseDecimal("77", 0, 100), 77U);
}

TEST(ParseBool, TakesWhatGoTakesAndOnAndOff) {
  for (const char* text : {"1", "t", "T", "true", "TRUE", "True", "on"}) {
    EXPECT_TRUE(ParseBool(text)) << text;
  }
  for (const char* text : {"0", "f", "F", "false", "FALSE", "False", "off"}) {
    EXPECT_FALSE(ParseBool(text)) << text;
  }
  for (const char* text : {"", "yes", "2", "tRUE", " 1", "auto"}) {
    EXPECT_THROW(ParseBool(text), std::invalid_argument) << text;
  }
}

TEST(IsServiceLink, IsTheFormThatKubernetesGivesToPorts) {
  for (const char* const value : {"tcp://10.0.0.1:80", "udp://[fd00::1]:53", "sctp://10.0.0.1:9"}) {
    EXPECT_TRUE(IsServiceLink("ENVOY_PORT", value)) << value;
    EXPECT_FALSE(IsServiceLink("ENVOY_USER", value)) << value;
  }
  for (const char* const value : {"", "15001", "http://10.0.0.1:80", "tcp:"}) {
    EXPECT_FALSE(IsServiceLink("ENVOY_PORT", value)) << value;
  }
}

TEST(SplitList, ToleratesSpacesAndOneTrailingComma) {
  EXPECT_THAT(SplitList(" a , b,c , "), ElementsAre("a", "b", "c"));
  EXPECT_THAT(SplitList("a,"), ElementsAre("a"));
  EXPECT_THAT(SplitList(""), IsEmpty());
  EXPECT_THAT(SplitList("  \t"), IsEmpty());
}

TEST(SplitList, RefusesAHole) {
  for (const char* text : {",", ",a", "a,,b", "a,,", "a, ,b"}) {
    EXPECT_THROW(SplitList(text), std::invalid_argument) << text;
  }
}

}  // namespace
}  // namespace sluice
