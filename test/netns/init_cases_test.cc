// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Applies every named configuration for real.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "capture/rule.h"
#include "test/support/capture_cases.h"
#include "test/support/connection.h"
#include "test/support/init_program.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {
namespace {

using capture::kFamilies;
using testing::HasSubstr;
using testing::Not;

class InitCases : public testing::TestWithParam<CaptureCase> {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
  }
};

INSTANTIATE_TEST_SUITE_P(, InitCases, testing::ValuesIn(CaptureCases()),
                         [](const auto& info) { return TestName(info.param.name); });

PodNetwork::Ipv6 Ipv6Of(const CaptureCase& chosen) {
  return chosen.pod_has_ipv6 ? PodNetwork::Ipv6::kYes : PodNetwork::Ipv6::kNo;
}

// Foreign rules around the place of ours.
void AddForeignRules(const netns::Namespace& where) {
  for (const Family family : kFamilies) {
    for (const char* rule :
         {"-t nat -N FOREIGN", "-t nat -A FOREIGN -p udp --dport 9 -j RETURN",
          "-t nat -A PREROUTING -j FOREIGN", "-t nat -A OUTPUT -j FOREIGN",
          "-t nat -A OUTPUT -p tcp --dport 4444 -j ACCEPT",
          "-t mangle -A PREROUTING -p udp --dport 9 -j ACCEPT", "-t filter -A INPUT -j ACCEPT"}) {
      Iptables(where, family, rule);
    }
  }
}

// Where it lands does not matter here, and TPROXY without a proxy swallows it.
const ConnectOptions kQuick = {.timeout = std::chrono::milliseconds(20)};

void MakeTraffic(const PodNetwork& network) {
  for (const char* ip : {"198.51.100.1", "192.0.2.2", "127.0.0.1"}) {
    Connect(network.pod(), {IpAddress::Parse(ip), 81}, kQuick);
  }
  Connect(network.outside(), {IpAddress::Parse("192.0.2.2"), 81}, kQuick);
}

// Apply; apply again; clean up; clean up again.
TEST_P(InitCases, LifeFromTheFirstApplyToTheLastCleanUp) {
  const PodNetwork network(Ipv6Of(GetParam()));
  const netns::Namespace& pod = network.pod();
  AddForeignRules(pod);
  MakeTraffic(network);
  const Snapshot before = TakeSnapshot(pod, WithCounters::kYes);
  ASSERT_TRUE(HasCounted(before)) << before;

  const auto applied = RunCase(pod, GetParam());
  ASSERT_EQ(applied.exit_status, 0) << applied.err;
  EXPECT_THAT(applied.err, HasSubstr("apply in net:["));
  EXPECT_THAT(applied.err, HasSubstr("]: done ("));
  EXPECT_NE(TakeSnapshot(pod), before);

  MakeTraffic(network);
  const Snapshot in_use = TakeSnapshot(pod, WithCounters::kYes);
  const auto again = RunCase(pod, GetParam());
  EXPECT_EQ(again.exit_status, 0) << again.err;
  EXPECT_THAT(again.err, HasSubstr("already in place, nothing written"));
  const Snapshot after_again = TakeSnapshot(pod, WithCounters::kYes);
  EXPECT_TRUE(OnlyCountedOn(in_use, after_again)) << in_use << after_again;

  for (const char* expected : {"]: done (", "already in place, nothing written"}) {
    const auto cleaned = RunInit(pod, {"--cleanup-only"});
    EXPECT_EQ(cleaned.exit_status, 0) << cleaned.err;
    EXPECT_THAT(cleaned.err, HasSubstr(expected));
    Snapshot after = TakeSnapshot(pod, WithCounters::kYes);
    EXPECT_TRUE(OnlyCountedOn(before, after)) << before << after;
    after.tables = before.tables;
    EXPECT_EQ(after, before);
  }
}

// The output of --dry-run, through the real restore programs, gives the same rules as an apply; and
// printing it needs no privilege and leaves no trace.
TEST_P(InitCases, DryRunIsWhatIsCommitted) {
  const PodNetwork applied(Ipv6Of(GetParam()));
  const auto result = RunCase(applied.pod(), GetParam());
  ASSERT_EQ(result.exit_status, 0) << result.err;

  const PodNetwork restored(Ipv6Of(GetParam()));
  Command dry_run = CaseCommand(GetParam(), {"--dry-run"});
  // Unless another resolv.conf must be mounted.
  if (dry_run.argv[0] != "unshare") dry_run.who = kApplication;
  const auto printed = RunCommand(restored.pod(), dry_run);
  ASSERT_EQ(printed.exit_status, 0) << printed.err;
  EXPECT_EQ(TableNames(restored.pod()), "");
  if (TestsNftables()) Nft(restored.pod(), printed.out);
  for (const Family family : kFamilies) {
    if (TestsNftables()) break;
    if (family == Family::kIpv6 && SavedRules(applied.pod(), family).empty()) continue;
    const std::string program =
        family == Family::kIpv4 ? "iptables-legacy-restore" : "ip6tables-legacy-restore";
    const auto restore =
        RunCommand(restored.pod(), {.argv = {program, "--noflush", "-w"}, .input = printed.out});
    EXPECT_EQ(restore.exit_status, 0) << restore.err << printed.out;
  }
  EXPECT_EQ(TakeSnapshot(restored.pod()).tables, TakeSnapshot(applied.pod()).tables) << printed.out;
  // sluice-init also recognizes them as its own, exactly.
  CaptureCase diff = GetParam();
  diff.args.insert(diff.args.begin(), "diff");
  const auto drift = RunCase(restored.pod(), diff);
  EXPECT_THAT(drift.out, Not(HasSubstr("-A "))) << drift.out;
}

}  // namespace
}  // namespace sluice::testing_support
