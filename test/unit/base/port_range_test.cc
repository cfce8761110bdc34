// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/port_range.h"

#include <stdexcept>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice {
namespace {

using testing::ElementsAre;

TEST(PortRange, ParsesPortsAndRanges) {
  EXPECT_EQ(PortRange::Parse("1"), PortRange::Single(1));
  EXPECT_EQ(PortRange::Parse("65535"), PortRange::Single(65535));
  EXPECT_EQ(PortRange::Parse("8000-8999"), (PortRange{8000, 8999}));
  EXPECT_EQ(PortRange::Parse("80-80").ToString(), "80");
}

TEST(PortRange, RefusesWhatIsNotAPort) {
  for (const char* text :
       {"", "0", "65536", "-1", "80-", "-80", "80-79", "80-90-100", "http", "80 ", "0-10"}) {
    EXPECT_THROW(PortRange::Parse(text), std::invalid_argument) << text;
  }
}

TEST(PortRange, IncludesBothEnds) {
  const PortRange range{80, 90};
  EXPECT_FALSE(range.Contains(79));
  EXPECT_TRUE(range.Contains(80));
  EXPECT_TRUE(range.Contains(90));
  EXPECT_FALSE(range.Contains(91));
}

TEST(Coalesce, MergesDuplicatesOverlapsAndNeighbours) {
  EXPECT_THAT(Coalesce({{81, 81}, {80, 80}, {8000, 8010}, {8005, 8005}, {8009, 8020}, {80, 80}}),
              ElementsAre(PortRange{80, 81}, PortRange{8000, 8020}));
  EXPECT_THAT(Coalesce({{65535, 65535}, {1, 65535}}), ElementsAre(PortRange{1, 65535}));
}

}  // namespace
}  // namespace sluice
