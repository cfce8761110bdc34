// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/error.h"

#include <cerrno>

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(Error, SaysWhatOnWhatWhyAndWhatHelps) {
  const Error error(ErrorKind::kLocked, {.doing = "lock the tables",
                                         .target = "netns 4026531840",
                                         .why = "pid 7 holds it",
                                         .help = "wait for it"});
  EXPECT_STREQ(error.what(),
               "cannot lock the tables (netns 4026531840): pid 7 holds it; wait for it");
  EXPECT_EQ(error.exit_code(), 5);
  EXPECT_EQ(Name(error.kind()), "locked");
}

TEST(Error, LeavesOutWhatIsNotKnown) {
  const Error error(ErrorKind::kFailed,
                    {.doing = "read it", .target = "", .why = "no", .help = ""});
  EXPECT_STREQ(error.what(), "cannot read it: no");
}

TEST(SystemError, TakesMissingPermissionForAPrivilege) {
  EXPECT_EQ(SystemError(EPERM, "a").kind(), ErrorKind::kPrivilege);
  EXPECT_EQ(SystemError(EACCES, "a").kind(), ErrorKind::kPrivilege);
  EXPECT_EQ(SystemError(ENOENT, "a").kind(), ErrorKind::kFailed);
}

}  // namespace
}  // namespace sluice
