// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// As in pods: an init container, another namespace, another name; and what it must not need.

#include <sched.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "test/support/capture_cases.h"
#include "test/support/init_program.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class InitContainer : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
  }
  void TearDown() override {
    if (named_) netns::Delete(name_);
  }

  const netns::Namespace& pod() const { return network_.pod(); }

  const std::string name_ = "sluice-init-" + std::to_string(getpid());
  bool named_ = false;
  PodNetwork network_;
};

// --- an init container ---

// A root file system that is read-only, /run and /tmp included, with /proc as a container has it;
// only the capabilities that are named; and a memory limit of 16 MiB, in whichever cgroup hierarchy
// there is. $1 is an empty directory, $2 a cgroup's name, $3 a uid, $4 "+net_admin" and so on, the
// rest the command.
constexpr const char* kContainer = R"(
set -eu
root=$1 name=$2 uid=$3 capabilities=$4; shift 4
if [ -d /sys/fs/cgroup/memory ]; then
  group=/sys/fs/cgroup/memory/$name; mkdir "$group"
  echo 16777216 >"$group/memory.limit_in_bytes"
elif grep -qw memory /sys/fs/cgroup/cgroup.subtree_control; then
  group=/sys/fs/cgroup/$name; mkdir "$group"
  echo 16777216 >"$group/memory.max"
  echo 0 >"$group/memory.swap.max" || true
else
  echo "no memory controller" >&2; exit 77
fi
# Whoever is in it is gone when the shell that waits comes to this.
trap 'rmdir "$group"' EXIT
status=0
sh -euc '
  group=$1 root=$2 uid=$3 capabilities=-all,$4; shift 4
  echo $$ >"$group/cgroup.procs"
  mount --bind / "$root"
  mount -t proc proc "$root/proc"
  mount -o remount,bind,ro "$root"
  exec chroot "$root" setpriv --no-new-privs --reuid "$uid" --regid "$uid" --clear-groups \
    --bounding-set "$capabilities" --inh-caps "$capabilities" --ambient-caps "$capabilities" "$@"
' sh "$group" "$root" "$uid" "$capabilities" "$@" || status=$?
exit $status
)";

// x_tables: as root with CAP_NET_ADMIN and CAP_NET_RAW. nf_tables: as anybody with the first.
TEST_F(InitContainer, NeedsFewCapabilitiesNoFileSystemAndLittleMemory) {
  const std::string uid = TestsNftables() ? "1000" : "0";
  const std::string group = "sluice-init-test-" + std::to_string(getpid());
  std::string root = (std::filesystem::temp_directory_path() / "sluice-root-XXXXXX").string();
  ASSERT_NE(mkdtemp(root.data()), nullptr);
  const auto contained = [&](const std::vector<std::string>& command) {
    Command all{.argv = {"unshare", "--mount", "--propagation", "private", "sh", "-c", kContainer,
                         "sh", root, group, uid,
                         TestsNftables() ? "+net_admin" : "+net_admin,+net_raw"}};
    all.argv.insert(all.argv.end(), command.begin(), command.end());
    return RunCommand(pod(), all);
  };

  const auto facts = contained({"sh", "-c",
                                "grep CapEff /proc/self/status; id -u; "
                                "touch /run/x || touch /tmp/x || echo read-only"});
  if (facts.exit_status == 77) GTEST_SKIP() << "no memory controller in any cgroup hierarchy";
  // CAP_NET_ADMIN is bit 12, CAP_NET_RAW bit 13.
  EXPECT_THAT(facts.out,
              HasSubstr("CapEff:\t000000000000" + std::string(TestsNftables() ? "1000" : "3000") +
                        "\n" + uid + "\nread-only\n"))
      << facts.err;

  for (const std::string name : {"seed-manifest", "tproxy-dual", "many-excluded-cidrs"}) {
    const PodNetwork elsewhere;
    ASSERT_EQ(RunCase(elsewhere.pod(), FindCase(name)).exit_status, 0);
    for (const char* expected : {"]: done (", "nothing written"}) {
      const auto applied = contained(CaseCommand(FindCase(name)).argv);
      EXPECT_EQ(applied.exit_status, 0) << name << ": " << applied.err;
      EXPECT_THAT(applied.err, HasSubstr(expected));
    }
    EXPECT_EQ(TakeSnapshot(pod()), TakeSnapshot(elsewhere.pod())) << name;
  }
  EXPECT_EQ(contained(InitCommand({"--cleanup-only"}).argv).exit_status, 0);
  EXPECT_THAT(TakeSnapshot(pod()).tables, IsEmpty());
  std::filesystem::remove(root);
}

// --- no child process is ever started ---

// Runs a program in `where` under ptrace(2); returns how often it started a process or thread, or
// executed another program.
int CountStarts(const netns::Namespace& where, const Command& command) {
  std::vector<std::string> words = command.argv;
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(120);
    if (setns(where.fd(), CLONE_NEWNET) != 0) _exit(121);
    execv(argv[0], argv.data());
    _exit(122);
  }
  int status = 0;
  // It stops after its exec.
  if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) return -1;
  const long events = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
                      PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
  ptrace(PTRACE_SETOPTIONS, child, nullptr, events);
  int starts = 0;
  ptrace(PTRACE_CONT, child, nullptr, nullptr);
  for (;;) {
    // Children are traced as well, and must be continued.
    const pid_t who = waitpid(-1, &status, __WALL);
    if (who < 0 || (who == child && WIFSIGNALED(status))) return -1;
    if (who == child && WIFEXITED(status)) break;
    if (!WIFSTOPPED(status)) continue;
    const bool event = status >> 16 != 0;
    starts += event ? 1 : 0;
    // A new one first stops without a signal of its own.
    const int signal = WSTOPSIG(status);
    const bool passed_on = !event && signal != SIGSTOP && signal != SIGTRAP;
    ptrace(PTRACE_CONT, who, nullptr, static_cast<long>(passed_on ? signal : 0));
  }
  EXPECT_EQ(WEXITSTATUS(status), 0);
  return starts;
}

TEST_F(InitContainer, StartsNoProcess) {
  for (const char* name : {"seed-dual-stack", "tproxy-dns", "everything"}) {
    EXPECT_EQ(CountStarts(pod(), InitCommand(FindCase(name).args)), 0) << name;
  }
  EXPECT_EQ(CountStarts(pod(), InitCommand({"--cleanup-only"})), 0);
  // Proves that the counter works.
  EXPECT_EQ(CountStarts(pod(), {.argv = {"/bin/sh", "-c", "true & wait"}}), 1);
}

// --- other namespaces, other names ---

TEST_F(InitContainer, WorksInTheNamespaceThatIsNamed) {
  ASSERT_EQ(RunInit(pod(), {"--dual-stack", "-i", "*"}).exit_status, 0);
  const Snapshot wanted = TakeSnapshot(pod());

  const PodNetwork target;
  const netns::Namespace elsewhere = netns::Namespace::CreateAnonymous();
  Process inhabitant(target.pod(), {.argv = {"sleep", "60"}});
  const std::string pid = std::to_string(inhabitant.pid());
  for (const std::string& where : {"pid:" + pid, "/proc/" + pid + "/ns/net"}) {
    const auto result =
        RunInit(elsewhere, {"--network-namespace", where, "--dual-stack", "-i", "*"});
    EXPECT_EQ(result.exit_status, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr(target.pod().Identity().ToString()));
    // Rules, address and routes, and nothing in the namespace where the program came from.
    EXPECT_EQ(TakeSnapshot(target.pod()), wanted);
    EXPECT_EQ(TableNames(elsewhere), "");
    EXPECT_EQ(RunInit(elsewhere, {"--network-namespace", where, "--cleanup-only"}).exit_status, 0);
    EXPECT_THAT(TakeSnapshot(target.pod()).tables, IsEmpty());
  }
}

TEST_F(InitContainer, WorksInANamespaceOfIpNetns) {
  const netns::Namespace named = netns::Create(name_);
  named_ = true;
  for (const std::string& where : {name_, "/run/netns/" + name_}) {
    const auto result = RunInit(pod(), {"--network-namespace", where, "--ipv6", "off"});
    EXPECT_EQ(result.exit_status, 0) << result.err;
    EXPECT_THAT(RulesOf(named, Family::kIpv4), HasSubstr(JumpFromOutput()));
    EXPECT_EQ(RunInit(pod(), {"--network-namespace", where, "--cleanup-only"}).exit_status, 0);
  }
  EXPECT_EQ(TableNames(pod()), "");
}

// The rules of a pod with its own user namespace can only be written from inside.
TEST_F(InitContainer, EntersTheUserNamespaceThatOwnsTheNetwork) {
  const netns::Namespace here = netns::Namespace::Current();
  Process pod_of_its_own(
      here, {.argv = {"unshare", "--user", "--net", "sh", "-c", "echo ready; exec sleep 60"}});
  ASSERT_TRUE(pod_of_its_own.WaitForText("ready", std::chrono::seconds(60)))
      << pod_of_its_own.Err();
  for (const char* map : {"uid_map", "gid_map"}) {
    std::ofstream file("/proc/" + std::to_string(pod_of_its_own.pid()) + "/" + map);
    ASSERT_TRUE(file << "0 0 65536" << std::flush) << map;
  }
  const std::string where = "pid:" + std::to_string(pod_of_its_own.pid());
  const auto result = RunInit(here, {"--network-namespace", where, "--ipv6", "off", "-i", "*"});
  EXPECT_EQ(result.exit_status, 0) << result.err;
  EXPECT_THAT(
      RulesOf(netns::Namespace::Open(where), Family::kIpv4),
      HasSubstr(TestsNftables() ? "meta skuid 1337 counter return" : "--uid-owner 1337 -j RETURN"));
}

TEST_F(InitContainer, AnswersToTheReferenceToolsName) {
  const auto link = std::filesystem::temp_directory_path() / ("istio-iptables-" + name_);
  std::filesystem::create_symlink(ProgramPath("sluice-init"), link);
  Command command = CaseCommand(FindCase("seed-manifest"));
  command.argv[0] = link;
  const auto result = RunCommand(pod(), command);
  std::filesystem::remove(link);
  EXPECT_EQ(result.exit_status, 0) << result.err;
  EXPECT_THAT(RulesOf(pod(), Family::kIpv4), HasSubstr(JumpFromOutput()));
}

// Without capturing first, or printing rules that capture.
TEST_F(InitContainer, CleansUpUnderTheNameThatDoes) {
  ASSERT_EQ(RunCase(pod(), FindCase("seed-manifest")).exit_status, 0);
  const auto link = std::filesystem::temp_directory_path() / ("istio-clean-iptables-" + name_);
  std::filesystem::create_directory(link);
  std::filesystem::create_symlink(ProgramPath("sluice-init"), link / "istio-clean-iptables");
  Command command = CaseCommand(FindCase("seed-manifest"), {"--dry-run"});
  command.argv[0] = link / "istio-clean-iptables";
  const auto dry = RunCommand(pod(), command);
  EXPECT_EQ(dry.exit_status, 0) << dry.err;
  EXPECT_EQ(dry.out, "");
  EXPECT_THAT(dry.err, HasSubstr("diff --cleanup-only"));
  EXPECT_THAT(RulesOf(pod(), Family::kIpv4), HasSubstr(JumpFromOutput()));
  command.argv.pop_back();
  const auto result = RunCommand(pod(), command);
  std::filesystem::remove_all(link);
  EXPECT_EQ(result.exit_status, 0) << result.err;
  EXPECT_THAT(RulesOf(pod(), Family::kIpv4), Not(HasSubstr(JumpFromOutput())));
}

TEST_F(InitContainer, EnvironmentAloneIsEnough) {
  Command command = InitCommand({});
  command.environment = {"ENVOY_PORT=15001",      "INBOUND_CAPTURE_PORT=15006",
                         "PROXY_UID=1337",        "ISTIO_SERVICE_CIDR=*",
                         "ISTIO_INBOUND_PORTS=*", "ISTIO_LOCAL_EXCLUDE_PORTS=15090,15020",
                         "ISTIO_DUAL_STACK=true"};
  ASSERT_EQ(RunCommand(pod(), command).exit_status, 0);
  const auto flags = RunCase(pod(), FindCase("seed-dual-stack"));
  EXPECT_EQ(flags.exit_status, 0);
  EXPECT_THAT(flags.err, HasSubstr("nothing written"));
}

TEST_F(InitContainer, WarnsOfExcludedInterfacesThatAreNotThere) {
  const auto result = RunInit(pod(), {"--dry-run", "-b", "80", "-c", "lo,l+,sluice-none,none+",
                                      "--include-interfaces", "lo,other-none"});
  EXPECT_EQ(result.exit_status, 0);
  for (const char* const name : {"sluice-none", "none+"}) {
    EXPECT_THAT(result.err, HasSubstr(std::string("warning: there is no interface ") + name +
                                      ", which --istio-exclude-interfaces names\n"));
  }
  EXPECT_THAT(result.err, HasSubstr("no interface other-none, which --include-interfaces names\n"));
  EXPECT_THAT(result.err, Not(HasSubstr("no interface l")));
}

// DNS capture on a kernel without the raw table: everything except conntrack zones.
TEST_F(InitContainer, WithoutTheRawTableDnsIsCapturedAllTheSame) {
  const CaptureCase& dns = FindCase("dns-all-v6");
  const PodNetwork elsewhere;
  ASSERT_EQ(RunCase(elsewhere.pod(), dns).exit_status, 0);
  Snapshot wanted = TakeSnapshot(elsewhere.pod());
  ASSERT_EQ(wanted.tables.erase("v4 raw") + wanted.tables.erase("v6 raw"), 2U);

  const auto without_raw = [](Command command) {
    return WithPreload(std::move(command), "libsluice_without_raw.so");
  };
  for (const char* const outcome : {"]: done (", "nothing written"}) {
    const auto result = RunCommand(pod(), without_raw(CaseCommand(dns)));
    EXPECT_EQ(result.exit_status, 0) << result.err;
    for (const char* const family : {"IPv4", "IPv6"}) {
      EXPECT_THAT(result.err, ContainsRegex(std::string("warning: .*raw table \\(") + family +
                                            ".*without conntrack zones of its own"));
    }
    EXPECT_THAT(result.err, HasSubstr(outcome));
    EXPECT_EQ(TakeSnapshot(pod()), wanted);
  }
  // What the kernel lacks is no drift.
  std::vector<std::string> words = dns.args;
  words.insert(words.begin(), "diff");
  const auto drift = RunCommand(pod(), without_raw(InitCommand(words)));
  EXPECT_EQ(drift.exit_status, 0) << drift.out;
  EXPECT_EQ(drift.out, "");
  EXPECT_EQ(RunCommand(pod(), without_raw(InitCommand({"--cleanup-only"}))).exit_status, 0);
  EXPECT_THAT(TakeSnapshot(pod()).tables, IsEmpty());
}

// --force-apply rewrites what is already in place; --reconcile and --cni-mode are accepted.
TEST_F(InitContainer, ForceApplyWritesAnyway) {
  ASSERT_EQ(RunCase(pod(), FindCase("seed-dual-stack")).exit_status, 0);
  const Snapshot wanted = TakeSnapshot(pod());
  // A packet of the pod's own: only rules that are written anew have not counted it.
  const std::string not_counted =
      TestsNftables() ? "counter [0:0] jump nat/ISTIO_OUTPUT" : "[0:0] -A OUTPUT -j ISTIO_OUTPUT";
  RunCommand(pod(), {.argv = {"bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/1"}});
  const auto counted = [&] { return NatOf(TakeSnapshot(pod(), WithCounters::kYes)); };
  EXPECT_THAT(counted(), Not(HasSubstr(not_counted)));
  const auto forced =
      RunCase(pod(), FindCase("seed-dual-stack"), {"--force-apply", "--reconcile", "--cni-mode"});
  EXPECT_EQ(forced.exit_status, 0) << forced.err;
  EXPECT_THAT(forced.err, HasSubstr("]: done ("));
  EXPECT_EQ(TakeSnapshot(pod()), wanted);
  EXPECT_THAT(counted(), HasSubstr(not_counted));
}

}  // namespace
}  // namespace sluice::testing_support
