// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Sessions whose ends are transports, or whose bytes pass a stage.
#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proxy/relay/layers.h"
#include "proxy/relay/relay.h"
#include "proxy/relay/transport.h"
#include "test/unit/proxy/frame_transport.h"
#include "test/unit/proxy/relay_layers.h"
#include "test/unit/proxy/session_fixture.h"

namespace sluice::proxy {
namespace {

using Status = Transport::Status;
using testing::HasSubstr;

// A session between peers, one or both of them framed.
class LayeredSessionTest : public SessionTest {
 protected:
  void Open(bool client_framed, bool server_framed, FrameTransport::Habits habits) {
    SessionTest::Open();
    auto layers = std::make_unique<Layers>();
    habits.opens = false;
    if (client_framed) {
      layers->client = std::make_unique<FrameTransport>(session_.client_fd(), habits);
    }
    server_peer_.Begin(server_.get(), server_framed, habits);
    habits.opens = true;
    habits.seed += 1;
    if (server_framed) {
      layers->server = std::make_unique<FrameTransport>(session_.server_fd(), habits);
    }
    client_peer_.Begin(client_.get(), client_framed, habits);
    layers_ = layers.get();
    session_.Use(std::move(layers));
  }
  // Until both peers know how it ended. The kernel's TCP takes its time, so only a long silence is
  // a stall.
  void Play() {
    const auto over = [](const RelayPeer& peer) { return peer.got_end || peer.error != 0; };
    for (int silent = 0; !(over(client_peer_) && over(server_peer_)); ++silent) {
      ASSERT_LT(silent, 6000) << "stalls: the client has " << client_peer_.got.size()
                              << " bytes, the server " << server_peer_.got.size();
      Turn(silent > 10 ? 10 : 0);
      const bool client_played = client_peer_.Play();
      const bool server_played = server_peer_.Play();
      if (client_played || server_played) silent = 0;
    }
    for (int i = 0; i < 6000 && session_.open(); ++i) Turn();
    EXPECT_FALSE(session_.open());
  }

  RelayPeer client_peer_;
  RelayPeer server_peer_;
  Layers* layers_ = nullptr;
};

TEST_F(LayeredSessionTest, CarriesBothDirectionsToTheirEnds) {
  Random random(7);
  for (unsigned seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    client_peer_ = RelayPeer();
    server_peer_ = RelayPeer();
    session_.~Session();
    new (&session_) Session();
    worker_.log_lines.clear();
    const auto [client_framed, server_framed] = kFramed[seed % 4];
    Open(client_framed, server_framed, {.seed = seed, .credits = static_cast<int>(seed)});
    const std::string request = RandomBytes(random, random() % 50'000 * (seed % 3));
    const std::string response = RandomBytes(random, random() % 50'000 * (seed % 5));
    client_peer_.to_send = request;
    server_peer_.to_send = response;
    Play();
    ASSERT_FALSE(HasFailure());
    EXPECT_TRUE(server_peer_.got == request) << server_peer_.got.size();
    EXPECT_TRUE(client_peer_.got == response) << client_peer_.got.size();
    EXPECT_TRUE(client_peer_.got_end);
    EXPECT_TRUE(server_peer_.got_end);
    EXPECT_THAT(worker_.log_lines, HasSubstr("\"connection_termination_details\":\"-\""));
  }
}

// The hello is sent to the server although no application has spoken.
TEST_F(LayeredSessionTest, AServerMaySpeakFirst) {
  Open(true, true, {});
  server_peer_.to_send = "220 ready";
  client_peer_.listens_first = true;
  client_peer_.to_send = "EHLO";
  Play();
  EXPECT_EQ(client_peer_.got, "220 ready");
  EXPECT_EQ(server_peer_.got, "EHLO");
}

TEST_F(LayeredSessionTest, AClientThatHasEndedStillGetsItsAnswer) {
  Open(true, false, {});
  client_peer_.to_send = "?";
  server_peer_.listens_first = true;
  server_peer_.to_send = std::string(300'000, 'a');
  Play();
  EXPECT_EQ(server_peer_.got, "?");
  EXPECT_EQ(client_peer_.got.size(), 300'000U);
}

// One event, and then none: the transport has everything inside. The worker's queue brings the
// session back, and others get their turn in between.
TEST_F(LayeredSessionTest, InputInsideATransportNeedsNoEventAndWaitsForItsTurn) {
  constexpr std::size_t kFrames = 3000;
  Open(true, false, {.credits = kFrames, .frame_bytes = 1, .moody = false});
  client_peer_.to_send = std::string(kFrames, 'x');
  for (int i = 0; i < 6000 && client_peer_.to_send.size() > 0; ++i) {
    client_peer_.Play();
    if (client_peer_.to_send.size() == kFrames) {
      Dispatch(1);
      ServeReady(worker_);
    }
  }
  ASSERT_TRUE(client_peer_.to_send.empty());
  // Everything has arrived once the transport has read it.
  for (int i = 0; i < 6000 && worker_.ready.empty(); ++i) Dispatch(10);
  ASSERT_EQ(worker_.ready.size(), 1U);
  EXPECT_LT(session_.Info(worker_).bytes_received, kFrames);
  for (int turns = 0; turns < 6000 && session_.Info(worker_).bytes_received < kFrames; ++turns) {
    if (worker_.ready.empty()) {
      Dispatch(10);
    }
    const std::uint64_t before = session_.Info(worker_).bytes_received;
    ServeReady(worker_);
    EXPECT_LE(session_.Info(worker_).bytes_received - before, 256U) << "a share per turn";
  }
  EXPECT_EQ(session_.Info(worker_).bytes_received, kFrames);
}

TEST_F(LayeredSessionTest, InputThatAWriteTakesNeedsNoEvent) {
  SessionTest::Open();
  auto layers = std::make_unique<Layers>();
  auto transport = std::make_unique<Scripted>();
  transport->write = {.took_input = true, .bytes = 6};
  transport->read_after_input = 5;
  layers->client = std::move(transport);
  session_.Use(std::move(layers));
  SendAll(server_, "answer");
  for (int i = 0; i < 6000 && worker_.ready.empty(); ++i) Dispatch(10);
  ASSERT_EQ(worker_.ready.size(), 1U);
  EXPECT_EQ(session_.Info(worker_).bytes_received, 0U);
  ServeReady(worker_);
  EXPECT_EQ(session_.Info(worker_).bytes_received, 5U);
  EXPECT_TRUE(worker_.ready.empty());
}

TEST_F(LayeredSessionTest, AStreamThatBreaksOffIsAResetToTheOtherSide) {
  Open(true, false, {});
  client_peer_.to_send = "before";
  client_peer_.sent_end = false;
  for (int i = 0; i < 6000 && server_peer_.got != "before"; ++i) {
    if (!client_peer_.to_send.empty()) client_peer_.Play();
    Turn(1);
    server_peer_.sent_end = true;
    server_peer_.Play();
  }
  ASSERT_EQ(server_peer_.got, "before");
  SendAll(client_, "D\x40half");
  ASSERT_EQ(::shutdown(client_.get(), SHUT_WR), 0);
  for (int i = 0; i < 6000 && server_peer_.error == 0; ++i) {
    Turn(1);
    server_peer_.Play();
  }
  EXPECT_EQ(server_peer_.error, ECONNRESET);
  EXPECT_FALSE(server_peer_.got_end);
  EXPECT_THAT(worker_.log_lines, HasSubstr("downstream_reset"));
}

TEST_F(LayeredSessionTest, WhatCameBeforeAResetIsDeliveredAndThenIsNoEnd) {
  Open(true, false, {});
  Turn();
  SendAll(server_, std::string(100'000, 'a'));
  while (UnconfirmedBytes(server_.get()) > 0) {
    Turn();
    client_peer_.sent_end = true;
    client_peer_.Play();
  }
  Reset(std::move(server_));
  for (int i = 0; i < 60'000 && client_peer_.error == 0; ++i) {
    if (i % 64 == 0) ++worker_.now_ticks;
    Turn(client_peer_.Play() ? 0 : 1);
  }
  EXPECT_EQ(client_peer_.got.size(), 100'000U);
  EXPECT_FALSE(client_peer_.got_end);
  EXPECT_EQ(client_peer_.error, ECONNRESET);
  EXPECT_THAT(worker_.log_lines, HasSubstr("upstream_reset"));
}

TEST_F(LayeredSessionTest, TwoPlainEndsAreSplicedWhenTheStageIsOver) {
  SessionTest::Open();
  // Whether a transfer counts as bulk depends on how fast its ends are.
  relay_->splicing = Splicing::kOn;
  auto layers = std::make_unique<Layers>();
  layers->response.stage = std::make_unique<LineStage>();
  session_.Use(std::move(layers));
  client_peer_.Begin(client_.get(), false, {});
  server_peer_.Begin(server_.get(), false, {});
  Random random(3);
  const std::string body = RandomBytes(random, 8 << 20);
  server_peer_.to_send = "0head\n!\n" + body;
  Play();
  EXPECT_TRUE(client_peer_.got == "a greeting\ndaeh0\n!\n" + body) << client_peer_.got.size();
  EXPECT_GT(relay_->pipes.idle(), 0);
}

// Records when it is deleted.
class LastWords : public Transport {
 public:
  LastWords(int fd, bool& fd_was_open) : fd_(fd), fd_was_open_(fd_was_open) {}
  ~LastWords() override { fd_was_open_ = ::fcntl(fd_, F_GETFD) >= 0; }
  Result Read(std::span<char>) override { return {.status = Status::kFailed, .error = EIO}; }
  Result Write(std::span<const char>) override { return {.status = Status::kFailed, .error = EIO}; }
  Result Shutdown() override { return {}; }

 private:
  const int fd_;
  bool& fd_was_open_;
};

TEST_F(LayeredSessionTest, TransportsAreDeletedBeforeTheirSocketsAreClosed) {
  SessionTest::Open();
  bool fd_was_open = false;
  auto layers = std::make_unique<Layers>();
  layers->client = std::make_unique<LastWords>(session_.client_fd(), fd_was_open);
  session_.Use(std::move(layers));
  session_.Abort(worker_, Failure::kDrainTimeout);
  EXPECT_TRUE(fd_was_open);
}

}  // namespace
}  // namespace sluice::proxy
