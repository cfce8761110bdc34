// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// sluice-cni install and uninstall, in the test's own directories.

#include <sys/stat.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/command.h"

namespace sluice::testing_support {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kList =
    R"({"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"bridge"}]})";
constexpr std::chrono::seconds kLimit{60};

class CniInstall : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
    std::string name = "/tmp/sluice-cni-install.XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    fs::create_directories(root_ / "net.d");
    fs::create_directories(root_ / "bin");
  }
  void TearDown() override {
    if (!root_.empty()) fs::remove_all(root_);
  }

  Command CommandOf(const std::string& verb, const std::vector<std::string>& more = {}) const {
    Command out{.argv = {ProgramPath("sluice-cni"), verb, "--conf-dir", (root_ / "net.d").string(),
                         "--bin-dir", (root_ / "bin").string()}};
    out.argv.insert(out.argv.end(), more.begin(), more.end());
    return out;
  }
  void Run(const std::string& verb, const std::vector<std::string>& more = {}) const {
    const CommandResult result = RunCommand(netns::Namespace::Current(), CommandOf(verb, more));
    ASSERT_EQ(result.exit_status, 0) << result.err;
  }
  std::string Conf(const std::string& name) const { return (root_ / "net.d" / name).string(); }
  static std::string Text(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();  // not byte by byte: the program has 17 million
    return text.str();
  }
  // Atomically, as careful programs do.
  void Put(const std::string& name, const std::string& text) const {
    std::ofstream(root_ / "new") << text;
    fs::rename(root_ / "new", Conf(name));
  }
  static ino_t InodeOf(const std::string& path) {
    struct stat status {};
    EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
    return status.st_ino;
  }

  fs::path root_;
};

TEST_F(CniInstall, OnceAndAgainAndOut) {
  Put("10-a.conflist", kList);
  Put("20-b.conflist", kList);
  Put("00-broken.conflist", "{");
  fs::permissions(Conf("10-a.conflist"), fs::perms::owner_read | fs::perms::owner_write);
  Run("install", {"--once"});
  const std::string program = (root_ / "bin/sluice-cni").string();
  EXPECT_TRUE(Text(program) == Text(ProgramPath("sluice-cni")));
  EXPECT_EQ(fs::status(program).permissions(), fs::perms(0755));
  EXPECT_THAT(Text(Conf("10-a.conflist")), HasSubstr("sluice-cni"));
  EXPECT_EQ(fs::status(Conf("10-a.conflist")).permissions(), fs::perms(0600));
  EXPECT_EQ(Text(Conf("20-b.conflist")), kList);
  EXPECT_EQ(Text(Conf("00-broken.conflist")), "{");

  const ino_t before = InodeOf(Conf("10-a.conflist"));
  const ino_t program_before = InodeOf(program);
  Run("install", {"--once"});
  EXPECT_EQ(InodeOf(Conf("10-a.conflist")), before);
  EXPECT_EQ(InodeOf(program), program_before);

  Run("uninstall");
  EXPECT_THAT(Text(Conf("10-a.conflist")), Not(HasSubstr("sluice-cni")));
  EXPECT_FALSE(fs::exists(program));
  Run("uninstall");
  // No other files are left.
  EXPECT_EQ(std::distance(fs::directory_iterator(root_ / "net.d"), {}), 3);
  EXPECT_EQ(std::distance(fs::directory_iterator(root_ / "bin"), {}), 0);
}

TEST_F(CniInstall, ASinglePluginIsPutBackByTheByte) {
  const std::string single =
      "{ \"cniVersion\": \"0.3.1\",\n \"name\": \"n\", \"type\": \"ptp\" }\n";
  Put("10-a.conf", single);
  Run("install", {"--once"});
  EXPECT_FALSE(fs::exists(Conf("10-a.conf")));
  EXPECT_THAT(Text(Conf("10-a.conflist")), HasSubstr("sluice-cni"));
  Run("uninstall");
  EXPECT_EQ(Text(Conf("10-a.conf")), single);
  EXPECT_FALSE(fs::exists(Conf("10-a.conflist")));
}

TEST_F(CniInstall, NoConfigurationYet) {
  const CommandResult result =
      RunCommand(netns::Namespace::Current(), CommandOf("install", {"--once"}));
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_THAT(result.err, HasSubstr("there is no network configuration"));
}

// A network's daemon writes its configuration at any time.
TEST_F(CniInstall, StaysUntilItIsTold) {
  for (const bool remove : {false, true}) {
    std::vector<std::string> more;
    if (remove) more = {"--remove-on-exit"};
    Process install(netns::Namespace::Current(), CommandOf("install", more));
    if (!remove) {
      ASSERT_TRUE(install.WaitForText("there is no configuration", kLimit)) << install.Err();
    }
    const std::string first = remove ? "05-c.conflist" : "10-a.conflist";
    const std::string second = remove ? "04-d.conflist" : "07-b.conflist";
    for (const std::string& name : {first, second}) {
      Put(name, kList);
      ASSERT_TRUE(install.WaitForText("added to " + Conf(name), kLimit)) << install.Err();
    }
    install.Signal(SIGTERM);
    const CommandResult result = install.Wait(kLimit);
    EXPECT_EQ(result.exit_status, 0) << result.err;
    EXPECT_EQ(Text(Conf(second)).find("sluice-cni") == std::string::npos, remove);
    EXPECT_EQ(fs::exists(root_ / "bin/sluice-cni"), !remove);
  }
}

}  // namespace
}  // namespace sluice::testing_support
