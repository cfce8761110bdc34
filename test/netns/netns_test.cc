// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Namespaces: created, named, found, entered, left and deleted, as in `ip netns`.

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <stdexcept>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "netns/namespace.h"
#include "netns/route_socket.h"
#include "test/support/command.h"
#include "test/support/error_of.h"
#include "test/support/in_namespace.h"

namespace sluice::netns {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;
using testing_support::CallIn;
using testing_support::ErrorOf;
using testing_support::kRoot;
using testing_support::MissingPrivilege;

class NamespaceTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
  }
  void TearDown() override {
    const auto names = IsSkipped() ? std::vector<std::string>() : List();
    if (std::ranges::find(names, name_) != names.end()) Delete(name_);
  }

  // Unique to this process: tests run in parallel.
  const std::string name_ = "sluice-test-" + std::to_string(getpid());
};

TEST_F(NamespaceTest, CreatedOneHasItsNameEverywhere) {
  const Namespace created = Create(name_);
  EXPECT_EQ(created.name(), "/run/netns/" + name_);
  EXPECT_NE(created.Identity(), Namespace::Current().Identity());
  EXPECT_EQ(Namespace::Open(name_).Identity(), created.Identity());
  EXPECT_EQ(Namespace::Open("/run/netns/" + name_).Identity(), created.Identity());
  EXPECT_THAT(List(), Contains(name_));
}

TEST_F(NamespaceTest, IpNetnsKnowsOursAndWeKnowItsOwn) {
  const auto ip = [](const std::vector<std::string>& arguments) {
    std::vector<std::string> argv = {"ip", "netns"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return testing_support::RunCommand(Namespace::Current(), {.argv = argv});
  };
  Create(name_);
  EXPECT_THAT(ip({"list"}).out, HasSubstr(name_));
  EXPECT_EQ(ip({"exec", name_, "true"}).exit_status, 0);
  EXPECT_EQ(ip({"delete", name_}).exit_status, 0);
  EXPECT_THAT(List(), Not(Contains(name_)));

  EXPECT_EQ(ip({"add", name_}).exit_status, 0);
  EXPECT_NO_THROW(Namespace::Open(name_));
  Delete(name_);
  EXPECT_THAT(ip({"list"}).out, Not(HasSubstr(name_)));
}

TEST_F(NamespaceTest, DirectoryOfNamesIsASharedMount) {
  Create(name_);
  std::ifstream mounts("/proc/self/mountinfo");
  std::string found;
  for (std::string line; std::getline(mounts, line);) {
    if (line.find(" /run/netns ") != std::string::npos) found = line;
  }
  EXPECT_THAT(found, HasSubstr("shared:"));
}

TEST_F(NamespaceTest, CreatingLeavesTheCallerWhereItWas) {
  const auto before = Namespace::Current().Identity();
  Create(name_);
  const Namespace anonymous = Namespace::CreateAnonymous();
  EXPECT_EQ(Namespace::Current().Identity(), before);
  EXPECT_NE(anonymous.Identity(), before);
}

TEST_F(NamespaceTest, NewOneHasOnlyALoopbackThatIsDown) {
  RouteSocket routes(Namespace::CreateAnonymous());
  const auto links = routes.Links();
  ASSERT_EQ(links.size(), 1U);
  EXPECT_EQ(links[0].name, "lo");
  EXPECT_TRUE(links[0].loopback);
  EXPECT_FALSE(links[0].up);
}

TEST_F(NamespaceTest, TakenNameIsRefusedAndNothingIsLost) {
  const auto first = Create(name_).Identity();
  const Error error = ErrorOf([&] { Create(name_); });
  EXPECT_EQ(error.kind(), ErrorKind::kFailed);
  EXPECT_THAT(error.what(), HasSubstr("/run/netns/" + name_));
  EXPECT_THAT(error.what(), HasSubstr("the name is taken"));
  EXPECT_EQ(Namespace::Open(name_).Identity(), first);
}

TEST_F(NamespaceTest, ConcurrentCreationOfOneNameSucceedsOnce) {
  std::atomic<int> made = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      try {
        Create(name_);
        ++made;
      } catch (const Error&) {
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(made, 1);
  EXPECT_NO_THROW(Namespace::Open(name_));
}

TEST_F(NamespaceTest, DeletedOneIsGoneAndLivesOnForItsUsers) {
  const Namespace created = Create(name_);
  Delete(name_);
  EXPECT_THAT(List(), Not(Contains(name_)));
  EXPECT_FALSE(std::filesystem::exists("/run/netns/" + name_));
  const ScopedNamespace inside(created);
  EXPECT_EQ(Namespace::Current().Identity(), created.Identity());
}

TEST_F(NamespaceTest, DeleteRemovesWhatAKilledCreationLeft) {
  Create(name_);
  Delete(name_);
  std::ofstream("/run/netns/" + name_).close();
  EXPECT_NO_THROW(Delete(name_));
  EXPECT_THAT(List(), Not(Contains(name_)));
}

TEST_F(NamespaceTest, DeletingWhatIsNotThereIsSaid) {
  const Error error = ErrorOf([&] { Delete(name_); });
  EXPECT_EQ(error.kind(), ErrorKind::kFailed);
  EXPECT_THAT(error.what(), HasSubstr("there is no such network namespace"));
}

TEST_F(NamespaceTest, OpensTheNamespaceOfAProcess) {
  EXPECT_EQ(Namespace::Open("pid:" + std::to_string(getpid())).Identity(),
            Namespace::Current().Identity());
  const Namespace elsewhere = Namespace::CreateAnonymous();
  const testing_support::Process process(elsewhere, {.argv = {"sleep", "60"}});
  // The child enters the namespace after the fork; once its program runs, it has.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  const std::string pid = "pid:" + std::to_string(process.pid());
  while (Namespace::Open(pid).Identity() != elsewhere.Identity() &&
         std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  EXPECT_EQ(Namespace::Open(pid).Identity(), elsewhere.Identity());
}

TEST(NamespaceOpenTest, SaysThatThereIsNone) {
  for (const std::string text : {"sluice-no-such-name", "/run/netns/sluice-no-such-name",
                                 "pid:2147483647", "/etc/passwd/x"}) {
    const Error error = ErrorOf([&] { Namespace::Open(text); });
    EXPECT_EQ(error.kind(), ErrorKind::kFailed) << text;
    EXPECT_THAT(error.what(), HasSubstr(text));
    EXPECT_THAT(error.what(), HasSubstr("there is no such network namespace"));
  }
}

TEST(NamespaceOpenTest, RefusesWhatIsNoNamespace) {
  for (const std::string text : {"/etc/passwd", "/proc/self/ns/mnt", "/"}) {
    const Error error = ErrorOf([&] { Namespace::Open(text); });
    EXPECT_EQ(error.kind(), ErrorKind::kFailed) << text;
    EXPECT_THAT(error.what(), HasSubstr("not a network namespace")) << text;
  }
}

TEST(NamespaceOpenTest, RefusesWhatCannotBeAName) {
  for (const std::string& text :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"), std::string("../x"),
        std::string("a\0b", 3), std::string(256, 'a'), std::string("pid:"), std::string("pid:0"),
        std::string("pid:-1"), std::string("pid:x"), std::string("pid:1/../2"),
        std::string("pid:4294967296")}) {
    EXPECT_EQ(ErrorOf([&] { Namespace::Open(text); }).kind(), ErrorKind::kUsage) << text;
  }
}

TEST(NamespaceOpenTest, IdentityIsWhatTheKernelShows) {
  EXPECT_EQ(Namespace::Current().name(),
            std::filesystem::read_symlink("/proc/thread-self/ns/net").string());
  EXPECT_EQ(Namespace::Current().Identity().ToString(), Namespace::Current().name());
}

TEST_F(NamespaceTest, GuardEntersAndComesBack) {
  const Namespace elsewhere = Namespace::CreateAnonymous();
  const Namespace further = Namespace::CreateAnonymous();
  const auto before = Namespace::Current().Identity();
  {
    const ScopedNamespace outer(elsewhere);
    EXPECT_EQ(Namespace::Current().Identity(), elsewhere.Identity());
    {
      const ScopedNamespace inner(further);
      EXPECT_EQ(Namespace::Current().Identity(), further.Identity());
    }
    EXPECT_EQ(Namespace::Current().Identity(), elsewhere.Identity());
  }
  EXPECT_EQ(Namespace::Current().Identity(), before);
}

TEST_F(NamespaceTest, GuardComesBackOnAnException) {
  const Namespace elsewhere = Namespace::CreateAnonymous();
  const auto before = Namespace::Current().Identity();
  const auto leave_by_throwing = [&] {
    const ScopedNamespace inside(elsewhere);
    throw std::runtime_error("on the way");
  };
  EXPECT_THROW(leave_by_throwing(), std::runtime_error);
  EXPECT_EQ(Namespace::Current().Identity(), before);
}

TEST_F(NamespaceTest, GuardMovesItsThreadOnly) {
  const Namespace elsewhere = Namespace::CreateAnonymous();
  const auto before = Namespace::Current().Identity();
  NamespaceIdentity seen_by_thread;
  std::thread([&] {
    const ScopedNamespace inside(elsewhere);
    seen_by_thread = Namespace::Current().Identity();
  }).join();
  EXPECT_EQ(seen_by_thread, elsewhere.Identity());
  EXPECT_EQ(Namespace::Current().Identity(), before);
}

TEST_F(NamespaceTest, GuardThatCannotComeBackEndsTheProcess) {
  const Namespace elsewhere = Namespace::CreateAnonymous();
  EXPECT_EXIT(
      {
        const ScopedNamespace inside(elsewhere);
        // User nobody cannot go back.
        if (setresuid(65534, 65534, 65534) != 0) _exit(1);
      },
      testing::KilledBySignal(SIGABRT), "");
}

TEST_F(NamespaceTest, WithoutPrivilegeTheCapabilityIsNamed) {
  const Namespace elsewhere = Namespace::CreateAnonymous();
  const auto as_nobody = [](const std::function<void()>& body) {
    return CallIn(Namespace::Current(), {.uid = 65534, .gid = 65534},
                  [&] { return ErrorOf(body); });
  };
  for (const Error& error :
       {as_nobody([] { Namespace::CreateAnonymous(); }), as_nobody([&] { Create(name_); }),
        as_nobody([&] { const ScopedNamespace inside(elsewhere); }),
        as_nobody([&] { EnterForGood(elsewhere); })}) {
    EXPECT_EQ(error.kind(), ErrorKind::kPrivilege) << error.what();
    EXPECT_THAT(error.what(), HasSubstr("CAP_SYS_ADMIN"));
  }
  EXPECT_THAT(List(), Not(Contains(name_)));
}

TEST_F(NamespaceTest, EntersForGood) {
  const Namespace elsewhere = Namespace::CreateAnonymous();
  NamespaceIdentity seen;
  std::thread([&] {
    EnterForGood(elsewhere);
    seen = Namespace::Current().Identity();
  }).join();
  EXPECT_EQ(seen, elsewhere.Identity());
}

// The result of `unshare -Urn`, owned by a separate user namespace.
TEST_F(NamespaceTest, EntersTheOwningUserNamespaceToo) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "needs a process of one thread, and ThreadSanitizer has one of its own";
#endif
  const testing_support::Process owner(
      Namespace::Current(), {.argv = {"unshare", "--user", "--map-root-user", "--net", "sh", "-c",
                                      "echo ready; exec sleep 60"}});
  ASSERT_TRUE(owner.WaitForText("ready", std::chrono::seconds(60))) << owner.Err();
  const std::string pid = std::to_string(owner.pid());
  const Namespace target = Namespace::Open("pid:" + pid);
  const auto enter_and_look = [&] {
    EnterForGood(target);
    const bool same_user = std::filesystem::read_symlink("/proc/self/ns/user") ==
                           std::filesystem::read_symlink("/proc/" + pid + "/ns/user");
    return same_user && Namespace::Current().Identity() == target.Identity();
  };
  // A child: it cannot go back, and must not continue as a second test.
  const pid_t child = fork();
  if (child == 0) {
    try {
      _exit(enter_and_look() ? 0 : 1);
    } catch (const std::exception& error) {
      std::cerr << error.what() << std::endl;
      _exit(2);
    }
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace sluice::netns
