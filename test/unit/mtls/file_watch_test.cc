// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/mtls/file_watch.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

#include <gtest/gtest.h>

namespace sluice::proxy {
namespace {

namespace fs = std::filesystem;

class FileWatchTest : public testing::Test {
 protected:
  FileWatchTest() {
    std::string path = (fs::temp_directory_path() / "sluice-watch-XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr) throw std::runtime_error("cannot make " + path);
    top_ = path;
  }
  ~FileWatchTest() override {
    std::error_code ignored;
    fs::remove_all(top_, ignored);
  }

  // Creates it or makes it longer, in place.
  static void Write(const fs::path& file) { std::ofstream(file, std::ios::app) << "text"; }
  // inotify(7) events are there before the call that causes them returns.
  static bool IsTold(const FileWatch& watch) {
    pollfd ready{.fd = watch.fd(), .events = POLLIN, .revents = 0};
    return ::poll(&ready, 1, 0) > 0;
  }
  // `change` is told, and what came before it is forgotten.
  template <typename Change>
  static void ExpectTold(FileWatch& watch, const Change& change) {
    ASSERT_TRUE(watch.Arm()) << watch.why();
    ASSERT_FALSE(IsTold(watch));
    change();
    EXPECT_TRUE(IsTold(watch));
  }

  fs::path top_;
};

TEST_F(FileWatchTest, TellsOfFilesThatComeChangeAndGo) {
  fs::create_directory(top_ / "files");
  const fs::path file = top_ / "files" / "key.pem";
  FileWatch watch({file.string()});
  ExpectTold(watch, [&] { Write(file); });
  ExpectTold(watch, [&] { Write(file); });
  ExpectTold(watch, [&] { fs::permissions(file, fs::perms(0400)); });
  Write(top_ / "new");
  ExpectTold(watch, [&] { fs::rename(top_ / "new", file); });
  ExpectTold(watch, [&] { fs::remove(file); });
}

TEST_F(FileWatchTest, FollowsTheLinkThatKubernetesTurns) {
  const fs::path volume = top_ / "volume";
  for (const char* const version : {"..1", "..2", "..3"}) {
    fs::create_directories(volume / version);
    Write(volume / version / "key.pem");
  }
  fs::create_directory_symlink("..1", volume / "..data");
  fs::create_symlink("..data/key.pem", volume / "key.pem");
  FileWatch watch({(volume / "key.pem").string()});
  for (const char* const version : {"..2", "..3"}) {
    ExpectTold(watch, [&] {
      fs::create_directory_symlink(version, volume / "..data_tmp");
      fs::rename(volume / "..data_tmp", volume / "..data");
    });
    // The file behind it is another one now.
    ExpectTold(watch, [&] { Write(volume / version / "key.pem"); });
  }
  ASSERT_TRUE(watch.Arm());
  Write(volume / "..1" / "key.pem");
  EXPECT_FALSE(IsTold(watch)) << "nobody reads that one any more";
}

TEST_F(FileWatchTest, SeesDirectoriesThatComeAndGo) {
  const fs::path file = top_ / "a" / "b" / "key.pem";
  FileWatch watch({file.string()});
  ExpectTold(watch, [&] { fs::create_directory(top_ / "a"); });
  ExpectTold(watch, [&] { fs::create_directory(top_ / "a" / "b"); });
  ExpectTold(watch, [&] { Write(file); });
  ExpectTold(watch, [&] { fs::rename(top_ / "a", top_ / "c"); });
  ExpectTold(watch, [&] { fs::rename(top_ / "c", top_ / "a"); });
  ExpectTold(watch, [&] { Write(file); });
  ExpectTold(watch, [&] { fs::remove_all(top_ / "a"); });
}

TEST_F(FileWatchTest, IsNotToldWhatIsNotAboutTheFiles) {
  fs::create_directory(top_ / "files");
  Write(top_ / "files" / "key.pem");
  FileWatch watch({(top_ / "files" / "key.pem").string()});
  ASSERT_TRUE(watch.Arm());
  Write(top_ / "beside");
  std::ifstream(top_ / "files" / "key.pem").get();
  EXPECT_FALSE(IsTold(watch));
}

TEST_F(FileWatchTest, EndsAtLinksThatGoRound) {
  fs::create_symlink("two", top_ / "one");
  fs::create_symlink("one", top_ / "two");
  FileWatch watch({(top_ / "one").string()});
  ExpectTold(watch, [&] { fs::remove(top_ / "two"); });
}

TEST_F(FileWatchTest, SaysWhyItCannotAndCanLater) {
  FileWatch watch({(top_ / "key.pem").string()});
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  // The error is the same as when the user has no instance left.
  const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const bool armed = watch.Arm();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_FALSE(armed);
  EXPECT_EQ(watch.why(), "inotify_init1: Too many open files");
  EXPECT_EQ(watch.fd(), -1);
  ExpectTold(watch, [&] { Write(top_ / "key.pem"); });
}

}  // namespace
}  // namespace sluice::proxy
