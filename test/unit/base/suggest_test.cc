// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/text/suggest.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

const std::vector<std::string_view> kNames = {
    "exclude-uids", "exclude-gids", "istio-inbound-ports", "istio-outbound-ports",
    "dry-run",      "wait",         "log_as_json"};

TEST(Suggest, FindsWhatIsALetterOrTwoAway) {
  EXPECT_EQ(FindNearMiss("exclude-uid", kNames), "exclude-uids");
  EXPECT_EQ(FindNearMiss("exlcude-uids", kNames), "exclude-uids");
  EXPECT_EQ(FindNearMiss("excludegids", kNames), "exclude-gids");
  EXPECT_EQ(FindNearMiss("Dry_Run", kNames), "dry-run");
  EXPECT_EQ(FindNearMiss("log-as-json", kNames), "log_as_json");
  EXPECT_EQ(FindNearMiss("wiat", kNames), "wait");
}

TEST(Suggest, FindsTheOnlyNameOfAPart) {
  EXPECT_EQ(FindNearMiss("outbound-ports", kNames), "istio-outbound-ports");
  EXPECT_EQ(FindNearMiss("ports", kNames), "");  // two names contain it
}

TEST(Suggest, IsSilentAboutWhatIsFar) {
  for (const std::string& far : {std::string("no-such-flag"), std::string("x"), std::string(""),
                                 std::string("verbose"), std::string(10'000, 'a')}) {
    EXPECT_EQ(FindNearMiss(far, kNames), "") << far;
  }
  EXPECT_EQ(FindNearMiss("wait", {}), "");
}

TEST(Suggest, SaysItAsAQuestion) {
  EXPECT_EQ(SuggestFlag("--exclude-uid=1", kNames, "see --help"), "did you mean --exclude-uids?");
  EXPECT_EQ(SuggestFlag("--", kNames, "see --help"), "see --help");
  EXPECT_EQ(SuggestWord("dif", {"diff", "show"}, "see --help"), "did you mean diff?");
  EXPECT_EQ(SuggestWord("apply", {"diff", "show"}, "see --help"), "see --help");
}

}  // namespace
}  // namespace sluice
