// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/session/session.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/proxy/session_fixture.h"

namespace sluice::proxy {
namespace {

using testing::HasSubstr;

TEST_F(SessionTest, WhatCameBeforeAResetIsDeliveredBeforeTheResetIs) {
  Open();
  Turn();
  // More than fits into the client's socket.
  const std::string answer(100'000, 'a');
  SendAll(server_, answer);
  while (UnconfirmedBytes(server_.get()) > 0) Turn();
  Reset(std::move(server_));
  Turn();
  EXPECT_EQ(ClientGets().size(), answer.size());
  EXPECT_EQ(errno, ECONNRESET);
  EXPECT_FALSE(session_.open());
  EXPECT_THAT(worker_.log_lines, HasSubstr("upstream_reset"));
  EXPECT_THAT(worker_.log_lines, HasSubstr("\"bytes_sent\":100000"));
}

TEST_F(SessionTest, AnAnswerIsDeliveredThoughTheRequestMetAReset) {
  Open();
  Turn();
  SendAll(server_, "too large");
  Reset(std::move(server_));
  // Both arrive in one turn; the request is the one that fails.
  SendAll(client_, "a request");
  EXPECT_EQ(ClientGets(), "too large");
  EXPECT_EQ(errno, ECONNRESET);
  EXPECT_THAT(worker_.log_lines, HasSubstr("upstream_reset"));
}

TEST_F(SessionTest, AReceiverThatTakesNothingIsResetAfterAWhile) {
  Open();
  Turn();
  SendAll(server_, std::string(100'000, 'a'));
  while (UnconfirmedBytes(server_.get()) > 0) Turn();
  Reset(std::move(server_));
  Turn();
  LetPass(std::chrono::seconds(1));
  EXPECT_TRUE(session_.open()) << "it may be slow";
  for (int i = 0; i < 100 && session_.open(); ++i) LetPass(std::chrono::seconds(1));
  EXPECT_FALSE(session_.open());
}

TEST_F(SessionTest, AResetIsPassedOnAtOnceWhenNothingIsUnderWay) {
  Open();
  Turn();
  Reset(std::move(server_));
  for (int i = 0; i < 100 && session_.open(); ++i) Turn();
  EXPECT_FALSE(session_.open());
  EXPECT_EQ(ClientGets(), "");
  EXPECT_EQ(errno, ECONNRESET);
}

// The socket's pending error is then EPIPE, not ECONNRESET.
TEST_F(SessionTest, ADestinationThatEndsAndResetsBeforeItIsLookedAtWasConnected) {
  Open();
  SendAll(server_, "bye");
  ASSERT_EQ(::shutdown(server_.get(), SHUT_WR), 0);
  Reset(std::move(server_));
  EXPECT_EQ(ClientGets(), "bye");
  EXPECT_EQ(errno, ECONNRESET);
  EXPECT_THAT(worker_.log_lines, HasSubstr("\"response_flags\":\"-\""));
  EXPECT_THAT(worker_.log_lines, HasSubstr("\"bytes_sent\":3"));
  EXPECT_THAT(worker_.log_lines, HasSubstr("upstream_reset"));
  EXPECT_THAT(worker_.log_lines, HasSubstr("\"upstream_local_address\":\"127.0.0.1:"));
  EXPECT_EQ(stats_.of(Direction::kOutbound)
                .failures[static_cast<std::size_t>(Failure::kConnectOther)]
                .Get(),
            0U);
}

TEST_F(SessionTest, WhoHasLittleToSayGoesBeforeWhoHasMuch) {
  struct Bulk {
    Session session;
    UniqueFd client;
    UniqueFd server;
  };
  std::array<Bulk, 8> all;
  for (Bulk& each : all) Open(each.session, each.client, each.server);
  Open();
  const std::string block(1 << 20, 'x');
  const auto fill = [&] {
    for (Bulk& each : all) {
      ::send(each.server.get(), block.data(), block.size(), MSG_DONTWAIT);
    }
  };
  for (int i = 0; i < 1000 && worker_.ready.size() < all.size(); ++i) {
    fill();
    Dispatch(10);
  }
  ASSERT_EQ(worker_.ready.size(), all.size());
  EXPECT_LE(relay_->moved_bytes, all.size() * 2 * RelayResources::kBufferBytes)
      << "a buffer at first";

  // At most two of them: each has another buffer's worth.
  relay_->turn_bytes = 100'000;
  const std::uint64_t before = relay_->moved_bytes;
  ServeReady(worker_);
  EXPECT_LE(relay_->moved_bytes - before, relay_->turn_bytes + RelayResources::kLeastShareBytes);
  ASSERT_GE(worker_.ready.size(), all.size() - 2);

  // A short message is relayed before any waiting session moves another byte.
  const std::vector<Session*> waiting = worker_.ready;
  std::vector<std::uint64_t> sent;
  for (Session* each : waiting) sent.push_back(each->Info(worker_).bytes_sent);
  SendAll(server_, "pong");
  char answer[4];
  ssize_t got = 0;
  for (int i = 0; i < 1000 && got <= 0; ++i) {
    fill();
    Dispatch(10);
    got = ::recv(client_.get(), answer, sizeof(answer), MSG_DONTWAIT);
  }
  EXPECT_EQ(got, 4);
  for (std::size_t i = 0; i < waiting.size(); ++i) {
    EXPECT_EQ(waiting[i]->Info(worker_).bytes_sent, sent[i]);
  }
  for (Bulk& each : all) each.session.Abort(worker_, Failure::kDrainTimeout);
}

TEST_F(SessionTest, AHalfClosedConnectionLivesAsLongAsAnIdleOne) {
  config_.idle_timeout = std::chrono::hours(1);
  Open();
  Turn();
  ASSERT_EQ(::shutdown(client_.get(), SHUT_WR), 0);
  Turn();
  LetPass(std::chrono::minutes(59));
  EXPECT_TRUE(session_.open());
  for (int i = 0; i < 10 && session_.open(); ++i) LetPass(std::chrono::minutes(1));
  EXPECT_FALSE(session_.open());
  EXPECT_THAT(worker_.log_lines, HasSubstr("idle_timeout"));
}

TEST_F(SessionTest, AHalfClosedConnectionHasATimeoutOfItsOwnWhenTold) {
  config_.half_closed_timeout = std::chrono::minutes(2);
  Open();
  Turn();
  LetPass(std::chrono::minutes(30));
  EXPECT_TRUE(session_.open()) << "neither side has ended";
  SendAll(client_, "last words");
  ASSERT_EQ(::shutdown(client_.get(), SHUT_WR), 0);
  Turn();
  LetPass(std::chrono::minutes(1));
  EXPECT_TRUE(session_.open());
  for (int i = 0; i < 10 && session_.open(); ++i) LetPass(std::chrono::minutes(1));
  EXPECT_FALSE(session_.open());
}

}  // namespace
}  // namespace sluice::proxy
