// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "base/os/reset_on_close.h"
#include "base/unique_fd.h"
#include "proxy/session/session.h"

namespace sluice::proxy {

// A TCP socket listening on loopback.
struct LoopbackListener {
  UniqueFd fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  SocketAddress address;

  // `receive_bytes`: the buffer size of accepted sockets; 0 means the kernel's default.
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

inline void SendAll(const UniqueFd& fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    ASSERT_GT(sent, 0);
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

inline void Reset(UniqueFd fd) { ResetOnClose(fd.get()); }

// A session without a worker: the test is the event loop and the clock.
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
  // One turn of the event loop; waits at most this long.
  void Turn(int wait_ms = 10) {
    Dispatch(wait_ms);
    ServeReady(worker_);
    ServeHandshake(worker_);
    timers_.Advance(worker_.now_ticks,
                    [&](TimerNode& node) { static_cast<Session&>(node).OnTimer(worker_); });
  }
  void LetPass(std::chrono::milliseconds time) {
    worker_.now_ticks += static_cast<std::uint64_t>(time / kTick);
    Turn(0);
  }
  // What the client receives until the end of its stream or an error, which is left in errno.
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
        // Time passes slowly, so that timeouts do not depend on the machine's speed.
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

}  // namespace sluice::proxy
