// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// main() of every test binary. In CI (CI=true) a skipped test counts as failed, because it proves
// nothing.

#include <cstdlib>
#include <string_view>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

int main(int argc, char** argv) {
  testing::InitGoogleMock(&argc, argv);
  const int result = RUN_ALL_TESTS();
  const char* const ci = std::getenv("CI");
  const bool in_ci = ci != nullptr && std::string_view(ci) == "true";
  const int skipped = testing::UnitTest::GetInstance()->skipped_test_count();
  return result == 0 && in_ci && skipped > 0 ? 1 : result;
}
