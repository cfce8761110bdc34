// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// What sluice-init refuses or cannot do: the exact message, the exit code, and no trace.

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/unique_fd.h"
#include "test/support/bad_inputs.h"
#include "test/support/capture_cases.h"
#include "test/support/init_program.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class InitRefusal : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
  }

  const netns::Namespace& pod() const { return network_.pod(); }

  // The command line of a manifest.
  static Command Manifest() { return CaseCommand(FindCase("seed-manifest")); }

  // Nothing is there. Reading a table creates it, so no table may have been read either.
  void ExpectUntouched() {
    EXPECT_EQ(TableNames(pod()), "");
    EXPECT_EQ(TakeSnapshot(pod()), fresh_);
  }

  PodNetwork network_;
  Snapshot fresh_ = TakeSnapshot(network_.pod());
};

TEST_F(InitRefusal, BadInputsChangeNothing) {
  for (const BadInput& bad : BadInputs()) {
    Command command = InitCommand(bad.args);
    command.environment = bad.environment;
    const auto result = RunCommand(pod(), command);
    EXPECT_EQ(result.exit_status, 2) << bad.message;
    EXPECT_EQ(result.err, "sluice-init: error: " + bad.message + " (exit code 2)\n");
    EXPECT_EQ(result.out, "");
  }
  ExpectUntouched();
}

TEST_F(InitRefusal, NamesEachMissingCapability) {
  const std::string help = "; grant it: securityContext.capabilities.add: [NET_ADMIN, NET_RAW] ";
  const auto refused = [&](const Command& command, const std::string& missing) {
    const auto result = RunCommand(pod(), command);
    EXPECT_EQ(result.exit_status, 3) << result.err;
    EXPECT_THAT(result.err, HasSubstr(": missing " + missing + help + "(exit code 3)\n"));
    ExpectUntouched();
  };
  // With only CAP_NET_ADMIN there is another backend, unless this one was requested.
  const auto manifest = [] {
    return CaseCommand(FindCase("seed-manifest"), {"--backend", "iptables"});
  };
  Command command = manifest();
  command.capabilities = {CAP_NET_RAW};
  refused(command, "CAP_NET_ADMIN");
  command.capabilities = {CAP_NET_ADMIN};
  refused(command, "CAP_NET_RAW");
  command.capabilities = std::vector<int>();
  refused(command, "CAP_NET_ADMIN and CAP_NET_RAW");
  command = manifest();
  command.who = kApplication;
  refused(command, "CAP_NET_ADMIN and CAP_NET_RAW");
}

// A missing privilege is also missing for a clean-up; but looking needs none if nothing is there.
TEST_F(InitRefusal, CleanUpSaysWhatIsMissingOnceThereIsSomething) {
  Command clean_up = InitCommand({"--cleanup-only"});
  clean_up.who = kApplication;
  ASSERT_EQ(RunCommand(pod(), Manifest()).exit_status, 0);
  const Snapshot before = TakeSnapshot(pod());
  const auto result = RunCommand(pod(), clean_up);
  EXPECT_EQ(result.exit_status, 3) << result.err;
  EXPECT_THAT(result.err, HasSubstr(TestsNftables() ? "missing CAP_NET_ADMIN; grant it"
                                                    : "missing CAP_NET_ADMIN and CAP_NET_RAW"));
  EXPECT_EQ(TakeSnapshot(pod()), before);
}

TEST_F(InitRefusal, AnyUserMayWithTheCapabilities) {
  Command command = Manifest();
  command.who = kApplication;
  command.capabilities = {CAP_NET_ADMIN};
  if (!TestsNftables()) command.capabilities->push_back(CAP_NET_RAW);
  const auto result = RunCommand(pod(), command);
  EXPECT_EQ(result.exit_status, 0) << result.err;
  EXPECT_THAT(RulesOf(pod(), Family::kIpv4), HasSubstr(JumpFromOutput()));
}

// Where no user is mapped to 1337, x_tables refuses rules about it, and nf_tables takes rules that
// match nobody.
TEST_F(InitRefusal, UnmappedUidIsExplained) {
  std::vector<std::string> argv = {"unshare", "--map-root-user", "--net"};
  for (const std::string& word : Manifest().argv) argv.push_back(word);
  const auto result = RunCommand(netns::Namespace::Current(), {.argv = argv, .who = kApplication});
  EXPECT_EQ(result.exit_status, 1) << result.err;
  EXPECT_THAT(
      result.err,
      HasSubstr(TestsNftables()
                    ? "cannot write the rules of nf_tables: the user 1337 is not mapped in this "
                      "user namespace"
                    : "cannot commit the nat table (IPv4): the kernel refused a rule (Invalid "
                      "argument); the owner match takes only ids that are mapped in this user "
                      "namespace"));
}

TEST_F(InitRefusal, UnknownNamespacesAreExplained) {
  const auto error = [&](const std::string& name) {
    const auto result = RunInit(pod(), {"--network-namespace", name, "-b", "80"});
    return std::to_string(result.exit_status) + " " + result.err;
  };
  EXPECT_THAT(error("sluice-no-such"),
              StartsWith("1 sluice-init: error: cannot open the network namespace "
                         "(/run/netns/sluice-no-such): there is no such network namespace; "));
  EXPECT_THAT(error("/etc/passwd"), StartsWith("1 sluice-init: error: cannot open the network "
                                               "namespace (/etc/passwd): "));
  EXPECT_THAT(error("a/b"), StartsWith("2 sluice-init: error: "));
  EXPECT_THAT(error("pid:x"), StartsWith("2 sluice-init: error: "));
  ExpectUntouched();
}

TEST_F(InitRefusal, MachinesCanReadIt) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"--log-format", "json", "-p", "0"},
        {"--no-such-flag", "--log_as_json"},
        {"--log-format=json", "no-such-command"}}) {
    const auto result = RunInit(pod(), arguments);
    EXPECT_EQ(result.exit_status, 2);
    EXPECT_THAT(result.err,
                StartsWith("{\"action\":\"read the configuration\",\"result\":\"error\""));
    EXPECT_THAT(result.err, HasSubstr("\"error\":{\"kind\":\"usage\""));
  }
}

// --- the lock ---

// A namespace's lock, held by this process.
UniqueFd HoldLock(const netns::Namespace& where) {
  UniqueFd lock;
  RunIn(where, kRoot, [&lock] {
    lock.reset(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    ASSERT_EQ(flock(lock.get(), LOCK_EX | LOCK_NB), 0);
  });
  return lock;
}

TEST_F(InitRefusal, LockHeldBySomebodyElse) {
  const UniqueFd lock = HoldLock(pod());
  Command command = Manifest();
  command.argv.insert(command.argv.end(), {"--wait", "1"});
  const auto result = RunCommand(pod(), command);
  EXPECT_EQ(result.exit_status, 5);
  EXPECT_THAT(result.err,
              StartsWith("sluice-init: error: cannot lock the network namespace's rules "
                         "(/proc/thread-self/ns/net): held by somebody else for more than 1000 ms, "
                         "by process " +
                         std::to_string(getpid()) + " ("));
  EXPECT_THAT(result.err, HasSubstr("give --wait DURATION more time (exit code 5)"));
  EXPECT_GE(result.wall, std::chrono::seconds(1));
  ExpectUntouched();
}

TEST_F(InitRefusal, LockOfAnotherNamespaceIsNobodysBusiness) {
  const UniqueFd lock = HoldLock(network_.outside());
  Command command = Manifest();
  // Other tests use the file that all namespaces share.
  command.environment.emplace_back("XTABLES_LOCKFILE=/dev/null");
  command.argv.insert(command.argv.end(), {"--wait", "0"});
  EXPECT_EQ(RunCommand(pod(), command).exit_status, 0);
}

// No need to wait if nothing is to be written.
TEST_F(InitRefusal, NoLockIsTakenWhenAllIsInPlace) {
  ASSERT_EQ(RunCommand(pod(), Manifest()).exit_status, 0);
  const UniqueFd lock = HoldLock(pod());
  Command command = Manifest();
  command.argv.insert(command.argv.end(), {"--wait", "0"});
  EXPECT_EQ(RunCommand(pod(), command).exit_status, 0);
}

TEST_F(InitRefusal, WaitsUntilTheLockIsFree) {
  UniqueFd lock = HoldLock(pod());
  Process waiting(pod(), Manifest());
  // It cannot end before the lock is free, however long we look.
  EXPECT_FALSE(waiting.WaitForText("sluice-init", std::chrono::milliseconds(100)));
  EXPECT_TRUE(waiting.Running());
  ExpectUntouched();
  lock.reset();
  const auto result = waiting.Wait(std::chrono::seconds(60));
  EXPECT_EQ(result.exit_status, 0) << result.err;
}

// The lock of iptables-legacy.
TEST_F(InitRefusal, LockOfIptablesIsRespected) {
  const std::string path =
      std::filesystem::temp_directory_path() / ("sluice-lock-" + std::to_string(getpid()));
  const UniqueFd lock(open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(flock(lock.get(), LOCK_EX | LOCK_NB), 0);
  Command command = Manifest();
  command.environment = {"XTABLES_LOCKFILE=" + path};
  command.argv.insert(command.argv.end(), {"--wait", "0"});
  const auto result = RunCommand(pod(), command);
  std::filesystem::remove(path);
  EXPECT_EQ(result.exit_status, 5);
  EXPECT_THAT(result.err, HasSubstr("(" + path + "): held by somebody else"));
  ExpectUntouched();
}

// Nobody will ever write to it: opening it must not wait longer than --wait, nor with the lock
// held.
TEST_F(InitRefusal, LockFileThatIsAFifo) {
  const std::string path =
      std::filesystem::temp_directory_path() / ("sluice-fifo-" + std::to_string(getpid()));
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  Command command = Manifest();
  command.environment = {"XTABLES_LOCKFILE=" + path};
  const auto result = RunCommand(pod(), command);
  std::filesystem::remove(path);
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_THAT(result.err, HasSubstr("(" + path + "): it is not a regular file"));
  ExpectUntouched();
}

}  // namespace
}  // namespace sluice::testing_support
