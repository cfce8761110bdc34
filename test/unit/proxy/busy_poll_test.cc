// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/busy_poll.h"

#include <gtest/gtest.h>

namespace sluice::proxy {
namespace {

using std::chrono::microseconds;

constexpr microseconds kSoon = BusyPoll::kLongest / 2;
constexpr microseconds kZero{0};

TEST(BusyPolling, IsForAConversationOfOneConnection) {
  BusyPoll poll(true);
  for (int i = 0; i < BusyPoll::kMessagesInARow; ++i) {
    EXPECT_EQ(poll.Span(), kZero) << i << " messages are no reason";
    poll.Observe(8, kSoon);
  }
  for (int i = 0; i < 3; ++i) {
    poll.Observe(8, kSoon);
    EXPECT_EQ(poll.Span(), BusyPoll::kLongest);
  }
}

TEST(BusyPolling, EndsWithTheConversation) {
  BusyPoll poll(true);
  const auto talk = [&poll] {
    for (int i = 0; i <= BusyPoll::kMessagesInARow; ++i) poll.Observe(8, kSoon);
    ASSERT_EQ(poll.Span(), BusyPoll::kLongest);
  };
  talk();
  poll.Observe(8, BusyPoll::kLongest);
  EXPECT_EQ(poll.Span(), kZero) << "it has become slow: not even once in vain";
  talk();
  poll.Observe(16, kSoon);
  EXPECT_EQ(poll.Span(), kZero) << "somebody else is talking";
  talk();
  poll.Observe(0, kSoon);
  EXPECT_EQ(poll.Span(), kZero) << "several are, or a listener has something";
}

TEST(BusyPolling, IsNotDoneWhereItIsNotAllowed) {
  BusyPoll poll(false);
  for (int i = 0; i <= BusyPoll::kMessagesInARow; ++i) poll.Observe(8, kSoon);
  EXPECT_EQ(poll.Span(), kZero);
}

}  // namespace
}  // namespace sluice::proxy
