// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/hex.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(Hex, HasNoLeadingZeros) {
  EXPECT_EQ(Hex(0), "0x0");
  EXPECT_EQ(Hex(1337), "0x539");
  EXPECT_EQ(Hex(0xffffffff), "0xffffffff");
}

}  // namespace
}  // namespace sluice
