// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// `sluice-init doctor`, in pods with something wrong.

#include <linux/capability.h>
#include <sys/file.h>

#include <chrono>
#include <fstream>
#include <memory>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "netns/sysctl.h"
#include "test/support/init_program.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using namespace std::chrono_literals;

constexpr int kProblem = 10;

// A file that the destructor removes.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& text) : path_(testing::TempDir() + "doctor.XXXXXX") {
    UniqueFd(mkstemp(path_.data()));
    std::ofstream(path_) << text;
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class InitDoctor : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
  }

  const netns::Namespace& pod() const { return network_.pod(); }

  void Install(std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"-i", "*", "-b", "*"});
    const auto result = RunInit(pod(), std::move(more));
    ASSERT_EQ(result.exit_status, 0) << result.err;
  }

  // A proxy that listens.
  std::unique_ptr<Process> StartProxy(Credentials who = kProxy) {
    auto proxy = std::make_unique<Process>(
        pod(),
        WithSanitizer({.argv = {ProgramPath("sluice-proxy"), "--log-level", "info"}, .who = who}));
    EXPECT_TRUE(proxy->WaitForText("15006", 60s)) << proxy->Err();
    return proxy;
  }

  CommandResult Doctor(std::vector<std::string> more = {}) {
    more.insert(more.begin(), "doctor");
    Command command = InitCommand(std::move(more));
    // The machine's lock may be held, for example by another test.
    command.environment.push_back("XTABLES_LOCKFILE=/nonexistent");
    return RunCommand(pod(), command);
  }

  void Set(const std::string& name, const std::string& value) {
    RunIn(pod(), kRoot, [&] { netns::WriteSysctl(name, value); });
  }

  PodNetwork network_;
};

TEST_F(InitDoctor, NothingStandsAgainstCaptureInAHealthyPod) {
  Install();
  const auto proxy = StartProxy();
  const Snapshot before = TakeSnapshot(pod());
  const auto result = Doctor();
  EXPECT_EQ(result.exit_status, 0) << result.out;
  EXPECT_THAT(result.out, AllOf(Not(HasSubstr("problem")), Not(HasSubstr("warning"))));
  EXPECT_THAT(result.out, AllOf(HasSubstr("listeners: there are listeners on 15006/tcp over IPv4"),
                                HasSubstr("(sluice-proxy), uid 1337, gid 1337")));
  EXPECT_EQ(TakeSnapshot(pod()), before);
}

TEST_F(InitDoctor, LookingMakesNothing) {
  const std::string tables = TableNames(pod());
  const auto result = Doctor();
  EXPECT_EQ(result.exit_status, kProblem);
  EXPECT_THAT(result.out, HasSubstr("problem  rules: no rules of Sluice are installed"));
  EXPECT_EQ(TableNames(pod()), tables) << "looking made a table";
  EXPECT_EQ(RunCommand(pod(), {.argv = {"nft", "list", "ruleset"}}).out, "");
}

TEST_F(InitDoctor, BeforeTheRulesItChecksWhatTheyNeed) {
  const auto result = Doctor({"-i", "*", "-b", "*"});
  EXPECT_EQ(result.exit_status, 0) << result.out;
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("note     rules: not installed yet"),
                    HasSubstr("note     listeners: nothing listens on port 15001/tcp")));
}

TEST_F(InitDoctor, NobodyListens) {
  Install();
  const auto result = Doctor();
  EXPECT_EQ(result.exit_status, kProblem);
  EXPECT_TRUE(result.out.starts_with("problem  listeners: nothing listens on port 15006/tcp over "))
      << result.out;
  EXPECT_THAT(result.out, HasSubstr("listeners: nothing listens on port 15001/tcp over IPv6"));
}

TEST_F(InitDoctor, ListenersOfTheWrongUser) {
  Install();
  const auto proxy = StartProxy(kApplication);
  const auto result = Doctor();
  EXPECT_EQ(result.exit_status, kProblem);
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("problem  listeners: port 15001/tcp over IPv4"),
                    HasSubstr("(sluice-proxy), uid 1000, gid 1000: the rules capture")));
}

TEST_F(InitDoctor, AnApplicationUnderTheUserOfTheProxy) {
  Install();
  const auto proxy = StartProxy();
  const Process application(pod(),
                            {.argv = {"sh", "-c", "echo started; exec sleep 600"}, .who = kProxy});
  ASSERT_TRUE(application.WaitForText("started", 60s));
  const auto result = Doctor();
  EXPECT_EQ(result.exit_status, kProblem);
  EXPECT_THAT(result.out, HasSubstr("problem  application-uid: process " +
                                    std::to_string(application.pid()) + " ("));
  EXPECT_THAT(result.out, HasSubstr("\n1 problem, "));
}

TEST_F(InitDoctor, ARuleOfOthersDecidesFirst) {
  Install();
  const auto proxy = StartProxy();
  Iptables(pod(), Family::kIpv4, "-t nat -I OUTPUT -p tcp -j ACCEPT");
  const auto result = Doctor();
  EXPECT_EQ(result.exit_status, kProblem);
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("problem  foreign-rules: IPv4 nat OUTPUT rule 1, not Sluice's"),
                    HasSubstr("note     other-backends: others have rules of iptables: nat (IPv4)"),
                    HasSubstr("\n1 problem, ")));
}

// x_tables runs before ours, wherever ours are.
TEST_F(InitDoctor, ARuleOfTheOtherBackendDecidesFirst) {
  Install({"--backend", "nftables"});
  const auto proxy = StartProxy();
  EXPECT_EQ(Doctor().exit_status, 0);
  // The end of x_tables' nat only.
  Iptables(pod(), Family::kIpv4, "-t nat -I OUTPUT -p tcp -j ACCEPT");
  EXPECT_EQ(Doctor().exit_status, 0);
  Iptables(pod(), Family::kIpv4, "-t nat -I OUTPUT -p tcp -j REDIRECT --to-ports 1");
  const auto result = Doctor();
  EXPECT_EQ(result.exit_status, kProblem);
  EXPECT_THAT(result.out, HasSubstr("problem  foreign-rules: IPv4 nat OUTPUT rule 1"));
}

TEST_F(InitDoctor, RulesOfBothBackends) {
  Install({"--backend", "nftables"});
  const auto proxy = StartProxy();
  const std::string text =
      RunInit(pod(), {"-i", "*", "-b", "*", "--backend", "iptables", "--dry-run"}).out;
  ASSERT_EQ(RunCommand(pod(), {.argv = {"iptables-legacy-restore", "--noflush"}, .input = text})
                .exit_status,
            0);
  const auto result = Doctor();
  EXPECT_EQ(result.exit_status, kProblem);
  EXPECT_THAT(result.out, HasSubstr("problem  other-backends: rules of Sluice are installed with "
                                    "iptables and nftables at once"));
}

TEST_F(InitDoctor, SomebodyElseCapturesAsWell) {
  Install();
  const auto proxy = StartProxy();
  Nft(pod(),
      "table ip nat { chain ISTIO_OUTPUT { tcp dport 1 redirect to :15001; }; chain OUTPUT { "
      "type nat hook output priority -100; jump ISTIO_OUTPUT; }; }");
  const auto result = Doctor();
  EXPECT_EQ(result.exit_status, 0);
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("warning  other-backends: ip nat, chain ISTIO_OUTPUT (nftables)"),
                    HasSubstr("others have rules of nftables: nat (chain OUTPUT)")));
}

TEST_F(InitDoctor, SettingsOfTheKernelThatTproxyDoesNotStand) {
  Install({"-m", "TPROXY"});
  EXPECT_THAT(Doctor().out, AllOf(HasSubstr("ok       policy-routing: what TPROXY needs is there"),
                                  Not(HasSubstr("rp_filter is 1"))));
  Set("ipv4/conf/all/rp_filter", "1");
  EXPECT_THAT(Doctor().out,
              HasSubstr("warning  rp-filter: rp_filter is 1 (strict) on eth0 and eth1"));
  Set("ipv4/conf/all/src_valid_mark", "1");
  EXPECT_THAT(Doctor().out, HasSubstr("problem  rp-filter: src_valid_mark is 1 on eth0 and eth1"));
  ASSERT_EQ(RunCommand(pod(), {.argv = {"ip", "rule", "del", "priority", "13370"}}).exit_status, 0);
  EXPECT_THAT(Doctor().out, HasSubstr("problem  policy-routing: the policy rule or the route that "
                                      "TPROXY needs is missing for IPv4"));
}

TEST_F(InitDoctor, Ipv6IsDisabledOnLo) {
  Install();
  const auto proxy = StartProxy();
  Set("ipv6/conf/lo/disable_ipv6", "1");
  const auto result = Doctor();
  EXPECT_EQ(result.exit_status, kProblem);
  EXPECT_THAT(result.out, HasSubstr("problem  ipv6-lo: IPv6 is disabled on lo"));
}

TEST_F(InitDoctor, WhatItMayNotSeeIsSaid) {
  Install();
  Command command = InitCommand({"doctor"});
  command.capabilities.emplace();
  const auto result = RunCommand(pod(), command);
  EXPECT_EQ(result.exit_status, kProblem);
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("problem  capabilities: CAP_NET_ADMIN is missing"),
                    HasSubstr("note     rules: not checked: "),
                    HasSubstr("note     foreign-rules: not checked: rules of iptables cannot be "
                              "seen without CAP_NET_ADMIN and CAP_NET_RAW"),
                    HasSubstr("ok       addresses: IPv4 and IPv6")));
}

TEST_F(InitDoctor, AResolverThatTheRulesDoNotKnow) {
  const TemporaryFile then("nameserver 10.96.0.10\n");
  const TemporaryFile now("nameserver 10.96.0.10\nnameserver 10.96.0.99\n");
  const auto installed = RunCommand(
      pod(), WithResolvConf(InitCommand({"-i", "*", "-b", "*", "--redirect-dns"}), then.path()));
  ASSERT_EQ(installed.exit_status, 0) << installed.err;
  const auto look = [this](const TemporaryFile& file) {
    return RunCommand(pod(), WithResolvConf(InitCommand({"doctor"}), file.path())).out;
  };
  EXPECT_THAT(look(then), HasSubstr("ok       resolv-conf: queries to the resolver of"));
  EXPECT_THAT(look(now), HasSubstr("problem  resolv-conf: the resolver 10.96.0.99 of "
                                   "/etc/resolv.conf is not in the DNS rules"));
}

// The table's size is global, so the numbers are mounted over the kernel's.
TEST_F(InitDoctor, ConntrackIsNearlyFull) {
  Install();
  const TemporaryFile count("960\n");
  const TemporaryFile max("1000\n");
  const auto over = [](const TemporaryFile& file, const std::string& name) {
    return "mount --bind '" + file.path() + "' /proc/sys/net/netfilter/" + name + "\n";
  };
  const auto result =
      RunCommand(pod(), WithMounts(InitCommand({"doctor"}), over(count, "nf_conntrack_count") +
                                                                over(max, "nf_conntrack_max")));
  EXPECT_THAT(result.out, HasSubstr("problem  conntrack: the table is 96% full (960 of 1000"));
}

TEST_F(InitDoctor, WhoHoldsTheLockIsNamed) {
  Install();
  EXPECT_THAT(Doctor().out, HasSubstr("ok       lock: "));
  ASSERT_EQ(flock(pod().fd(), LOCK_EX | LOCK_NB), 0);
  const auto result = Doctor();
  flock(pod().fd(), LOCK_UN);
  EXPECT_THAT(result.out, HasSubstr("warning  lock: process " + std::to_string(getpid()) + " ("));
}

}  // namespace
}  // namespace sluice::testing_support
