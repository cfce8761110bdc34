// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/session/session.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/os/reset_on_close.h"
#include "base/unique_fd.h"

namespace sluice::proxy {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

// A TCP socket that listens on loopback.
struct LoopbackListener {
  UniqueFd fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  SocketAddress address;

  // `receive_bytes`: of the sockets that it accepts; 0 leaves it to the kernel.
  explicit LoopbackListener(int receive_bytes = 0) {
    if (receive_bytes > 0) {
      ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
    }
    sockaddr_in raw{};
    raw.sin_family = AF_INET;
    raw.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(raw);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&raw), length), 0);
    EXPECT_EQ(::listen(fd.get(), 8), 0);
    EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&raw), &length), 0);
    address = {IpAddress::V4(127, 0, 0, 1), ntohs(raw.sin_port)};
  }
  UniqueFd Accept(int flags = 0) const {
    return UniqueFd(::accept4(fd.get(), nullptr, nullptr, SOCK_CLOEXEC | flags));
  }
};

void SendAll(const UniqueFd& fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    ASSERT_GT(sent, 0);
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

void Reset(UniqueFd fd) { ResetOnClose(fd.get()); }

// A session without a worker: the test is the event loop, and its clock.
class SessionTest : public testing::Test {
 protected:
  // The client's socket is `client_`, the server's is what `listener_` accepts.
  void Open() { Open(session_, client_, server_, 4096); }
  void Open(Session& session, UniqueFd& client, UniqueFd& server, int receive_bytes = 0) {
    const LoopbackListener front;
    client.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (receive_bytes > 0) {
      ::setsockopt(client.get(), SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
    }
    sockaddr_storage raw;
    const socklen_t length = ToSockaddr(front.address, raw);
    ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&raw), length), 0);
    UniqueFd accepted = front.Accept(SOCK_NONBLOCK);
    ASSERT_TRUE(accepted);
    ASSERT_EQ(session.Open(worker_, Direction::kOutbound, accepted.release(),
                           LocalAddress(client.get()), listener_.address, false),
              0);
    server = listener_.Accept();
    ASSERT_TRUE(server);
  }

  void Dispatch(int wait_ms) {
    std::array<epoll_event, 64> events;
    const int count = ::epoll_wait(epoll_.get(), events.data(), 64, wait_ms);
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      auto& session = *reinterpret_cast<Session*>(event.data.u64 & ~std::uint64_t{1});
      if (session.open()) {
        session.OnEvents(worker_, static_cast<Session::Side>(event.data.u64 & 1), event.events);
      }
    }
  }
  // One turn of the event loop; waits at most so long.
  void Turn(int wait_ms = 10) {
    Dispatch(wait_ms);
    ServeReady(worker_);
    timers_.Advance(worker_.now_ticks,
                    [&](TimerNode& node) { static_cast<Session&>(node).OnTimer(worker_); });
  }
  void LetPass(milliseconds time) {
    worker_.now_ticks += static_cast<std::uint64_t>(time / kTick);
    Turn(0);
  }
  // What the client gets until the end of its stream or an error, which is left in errno.
  std::string ClientGets() {
    std::string out;
    for (int turns = 0; turns < 10'000; ++turns) {
      char buffer[65536];
      const ssize_t got = ::recv(client_.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
      if (got > 0) {
        out.append(buffer, static_cast<std::size_t>(got));
      } else if (got == 0) {
        errno = 0;
        return out;
      } else if (errno != EAGAIN) {
        return out;
      }
      if (session_.open()) {
        // Time passes slowly, so that patience is no matter of the machine's speed.
        if (turns % 16 == 0) ++worker_.now_ticks;
        Turn(got > 0 ? 0 : 10);
      }
    }
    ADD_FAILURE() << "neither end nor error";
    return out;
  }

  ProxyConfig config_;
  WorkerStats stats_;
  UniqueFd epoll_{::epoll_create1(EPOLL_CLOEXEC)};
  std::unique_ptr<RelayResources> relay_ = std::make_unique<RelayResources>();
  TimerWheel timers_{0};
  OwnSockets own_sockets_;
  WorkerContext worker_{.config = config_,
                        .stats = stats_,
                        .epoll_fd = epoll_.get(),
                        .relay = *relay_,
                        .timers = timers_,
                        .own_sockets = own_sockets_,
                        .ready = {},
                        .closed = {}};
  LoopbackListener listener_;
  UniqueFd client_;
  UniqueFd server_;
  Session session_;

  ~SessionTest() override {
    if (session_.open()) session_.Abort(worker_, Failure::kDrainTimeout);
  }
};

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
  // Both are there in one turn; the request is the one that breaks.
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

// The socket's pending error is EPIPE then, not ECONNRESET.
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

  // Two of them at most: each has another buffer's worth.
  relay_->turn_bytes = 100'000;
  const std::uint64_t before = relay_->moved_bytes;
  ServeReady(worker_);
  EXPECT_LE(relay_->moved_bytes - before, relay_->turn_bytes + RelayResources::kLeastShareBytes);
  ASSERT_GE(worker_.ready.size(), all.size() - 2);

  // A short message finds its way before any that waits moves another byte.
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
