// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/session/timer_wheel.h"

#include <map>
#include <random>
#include <set>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::proxy {
namespace {

// Advances to each due tick, as a worker does; returns the tick at which each timer fired.
std::map<const TimerNode*, std::uint64_t> RunUntil(TimerWheel& wheel, std::uint64_t end) {
  std::map<const TimerNode*, std::uint64_t> fired;
  for (std::uint64_t due = wheel.NextDue(); due <= end; due = wheel.NextDue()) {
    wheel.Advance(due, [&](TimerNode& node) { fired[&node] = due; });
  }
  return fired;
}

TEST(TimerWheel, SleepsForEverWhenNothingIsArmed) {
  TimerWheel wheel(5);
  EXPECT_EQ(wheel.NextDue(), TimerWheel::kNever);
  TimerNode node;
  wheel.Set(node, 100);
  wheel.Cancel(node);
  EXPECT_FALSE(node.armed());
  EXPECT_EQ(wheel.NextDue(), TimerWheel::kNever);
}

TEST(TimerWheel, FiresAtTheTickWhateverTheDistance) {
  // Around each boundary between levels, from unaligned and aligned starts.
  for (const std::uint64_t start : {0ULL, 1ULL, 63ULL, 4095ULL, 123'457ULL}) {
    TimerWheel wheel(start);
    std::vector<TimerNode> nodes(12);
    const std::uint64_t distances[] = {1,    2,    63,     64,     65,         4095,
                                       4096, 4097, 262143, 262144, 10'000'000, 16'777'215};
    for (std::size_t i = 0; i < nodes.size(); ++i) wheel.Set(nodes[i], start + distances[i]);
    const auto fired = RunUntil(wheel, start + 20'000'000);
    ASSERT_EQ(fired.size(), nodes.size());
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const std::uint64_t at = fired.at(&nodes[i]);
      EXPECT_GE(at, start + distances[i]);
      // One tick late if it was moved down a level at its own tick.
      EXPECT_LE(at, start + distances[i] + 1) << "distance " << distances[i];
      EXPECT_FALSE(nodes[i].armed());
    }
  }
}

TEST(TimerWheel, AgreesWithASortedSet) {
  std::mt19937 random(1);
  TimerWheel wheel(0);
  std::vector<TimerNode> nodes(200);
  std::map<TimerNode*, std::uint64_t> expected;
  std::uint64_t now = 0;
  for (int round = 0; round < 5000; ++round) {
    TimerNode& node = nodes[random() % nodes.size()];
    if (random() % 4 == 0) {
      wheel.Cancel(node);
      expected.erase(&node);
    } else {
      const std::uint64_t deadline = now + 1 + (random() % (1U << (random() % 20)));
      wheel.Set(node, deadline);
      expected[&node] = deadline;
    }
    now += random() % 200;
    wheel.Advance(now, [&](TimerNode& fired) {
      ASSERT_TRUE(expected.contains(&fired));
      EXPECT_LE(expected[&fired], now);
      expected.erase(&fired);
    });
    for (const auto& [late, deadline] : expected) ASSERT_GE(deadline + 1, now) << "was not fired";
  }
}

TEST(TimerWheel, FiresEarlyBeyondItsHorizonAndThePastAtOnce) {
  TimerWheel wheel(1000);
  TimerNode far;
  TimerNode past;
  wheel.Set(far, 1ULL << 40);
  wheel.Set(past, 3);
  const auto fired = RunUntil(wheel, 1000 + (1ULL << 25));
  EXPECT_EQ(fired.at(&past), 1001U);
  EXPECT_NEAR(static_cast<double>(fired.at(&far)), 1000.0 + (1 << 24), 2);
}

TEST(TimerWheel, TheCallMayArmAndCancelOthersOfTheSameTick) {
  TimerWheel wheel(0);
  TimerNode first;
  TimerNode second;
  TimerNode again;
  wheel.Set(first, 10);
  wheel.Set(second, 10);
  int calls = 0;
  wheel.Advance(10, [&](TimerNode& node) {
    ++calls;
    wheel.Cancel(&node == &first ? second : first);
    wheel.Set(again, 12);
  });
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(wheel.NextDue(), 12U);
}

}  // namespace
}  // namespace sluice::proxy
