// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Changes of configuration: one after the other, concurrent, and interrupted.

#include <algorithm>
#include <csignal>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/support/capture_cases.h"
#include "test/support/init_program.h"
#include "test/support/pod_network.h"

namespace sluice::testing_support {
namespace {

using testing::AnyOf;
using testing::Eq;
using testing::HasSubstr;

// As different from one another as possible.
const std::vector<std::string>& Dozen() {
  static const std::vector<std::string> names = {
      "defaults",       "seed-manifest",       "outbound-cidrs", "multi-uid",
      "no-ipv6",        "dns-all-v6",          "tproxy-dual",    "tproxy-custom-mark",
      "virt-and-cidrs", "many-excluded-cidrs", "drop-invalid",   "everything"};
  return names;
}

void Apply(const netns::Namespace& where, const std::string& name) {
  const auto result = RunCase(where, FindCase(name));
  EXPECT_EQ(result.exit_status, 0) << name << ": " << result.err;
}

// The result of a configuration in a fresh pod.
Snapshot Alone(const std::string& name) {
  const PodNetwork network;
  Apply(network.pod(), name);
  return TakeSnapshot(network.pod());
}

// `command`, killed before its call number `call`, from 1, that changes a namespace.
Command KilledAt(int call, Command command) {
  command.environment.push_back("SLUICE_KILL_AT_CALL=" + std::to_string(call));
  return WithPreload(std::move(command), "libsluice_kill_at_call.so");
}

class InitTransitions : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
  }
};

INSTANTIATE_TEST_SUITE_P(, InitTransitions, testing::ValuesIn(Dozen()),
                         [](const auto& info) { return TestName(info.param); });

// Every ordered pair: from each of the dozen to this one.
TEST_P(InitTransitions, WhateverWasThereBeforeIsGone) {
  const Snapshot alone = Alone(GetParam());
  const PodNetwork network;
  for (const std::string& before : Dozen()) {
    Apply(network.pod(), before);
    Apply(network.pod(), GetParam());
    EXPECT_EQ(TakeSnapshot(network.pod()), alone) << "after " << before;
  }
}

class InitRaces : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = MissingPrivilege()) GTEST_SKIP() << *reason;
  }

  // Starts one process for each name, all at once, and waits for all.
  void ApplyAtOnce(const std::vector<std::string>& names) {
    std::vector<Process> processes;
    processes.reserve(names.size());
    for (const std::string& name : names) {
      processes.emplace_back(network_.pod(), CaseCommand(FindCase(name)));
    }
    for (std::size_t i = 0; i < names.size(); ++i) {
      const auto result = processes[i].Wait(std::chrono::seconds(60));
      EXPECT_EQ(result.exit_status, 0) << names[i] << ": " << result.err;
    }
  }

  PodNetwork network_;
};

TEST_F(InitRaces, SixteenOfOneConfigurationConverge) {
  for (const std::string name : {"tproxy-dual", "many-excluded-cidrs"}) {
    const Snapshot alone = Alone(name);
    for (int round = 0; round < 3; ++round) {
      ApplyAtOnce(std::vector<std::string>(16, name));
      EXPECT_EQ(TakeSnapshot(network_.pod()), alone);
      EXPECT_EQ(RunInit(network_.pod(), {"--cleanup-only"}).exit_status, 0);
    }
  }
}

// The last one wins entirely: never a table of one and a table of another.
TEST_F(InitRaces, SixteenOfFourConfigurationsEndAsOneOfThem) {
  const std::vector<std::string> names = {"seed-dual-stack", "tproxy-dual", "dns-all-v6",
                                          "no-ipv6"};
  std::vector<Snapshot> alone;
  for (const std::string& name : names) alone.push_back(Alone(name));
  std::vector<std::string> sixteen;
  for (int i = 0; i < 16; ++i) sixteen.push_back(names[static_cast<std::size_t>(i) % 4]);
  for (int round = 0; round < 4; ++round) {
    ApplyAtOnce(sixteen);
    EXPECT_THAT(TakeSnapshot(network_.pod()),
                AnyOf(Eq(alone[0]), Eq(alone[1]), Eq(alone[2]), Eq(alone[3])));
  }
}

// Apply and clean-up at the same time: each succeeds, and the result is one of the two.
TEST_F(InitRaces, ApplyAndCleanUpDoNotHurtEachOther) {
  const Snapshot nothing = TakeSnapshot(network_.pod());
  const Snapshot alone = Alone("tproxy-dual");
  std::vector<Process> processes;
  processes.reserve(12);
  for (int i = 0; i < 12; ++i) {
    processes.emplace_back(network_.pod(), i % 2 == 0 ? CaseCommand(FindCase("tproxy-dual"))
                                                      : InitCommand({"--cleanup-only"}));
  }
  for (Process& process : processes) {
    const auto result = process.Wait(std::chrono::seconds(60));
    EXPECT_EQ(result.exit_status, 0) << result.err;
  }
  EXPECT_THAT(TakeSnapshot(network_.pod()), AnyOf(Eq(alone), Eq(nothing)));
}

// kill -9 before each call that changes something: each table is old or new, and the next run
// repairs the rest.
TEST_F(InitRaces, KilledBeforeAnyChangeLeavesWholeTables) {
  const netns::Namespace& pod = network_.pod();
  const CaptureCase& old_case = FindCase("seed-dual-stack");
  const CaptureCase& new_case = FindCase("tproxy-dns");
  Apply(pod, new_case.name);
  const Snapshot after = TakeSnapshot(pod);
  Apply(pod, old_case.name);
  const Snapshot before = TakeSnapshot(pod);
  const auto table_of = [](const Snapshot& snapshot, const std::string& name) {
    const auto table = snapshot.tables.find(name);
    return table == snapshot.tables.end() ? std::string() : table->second;
  };

  // There are some thirty changes: five tables, an address, policy rules and routes. The tables of
  // nf_tables are one change.
  const int kFewest = TestsNftables() ? 5 : 10;
  constexpr int kMost = 200;
  int kills = 0;
  bool ended = false;
  for (int call = 1; call <= kMost && !ended; ++call) {
    Apply(pod, old_case.name);
    ASSERT_EQ(TakeSnapshot(pod), before);
    const auto result = RunCommand(pod, KilledAt(call, CaseCommand(new_case)));
    ended = result.exit_status == 0;  // it makes fewer calls
    if (!ended) {
      ASSERT_EQ(result.exit_status, 128 + SIGKILL) << result.err;
      ++kills;
    }
    const Snapshot found = TakeSnapshot(pod);
    for (const std::string name :
         {"v4 raw", "v4 mangle", "v4 nat", "v6 raw", "v6 mangle", "v6 nat", "nft ip sluice raw",
          "nft ip sluice mangle", "nft ip sluice nat", "nft ip6 sluice raw",
          "nft ip6 sluice mangle", "nft ip6 sluice nat"}) {
      EXPECT_THAT(table_of(found, name), AnyOf(table_of(before, name), table_of(after, name)))
          << name << ", killed before call " << call;
    }
    Apply(pod, new_case.name);
    ASSERT_EQ(TakeSnapshot(pod), after) << "not healed, killed before call " << call;
  }
  EXPECT_TRUE(ended);
  EXPECT_GE(kills, kFewest);
}

}  // namespace
}  // namespace sluice::testing_support
