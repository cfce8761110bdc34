// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "test/bench/load_server.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "test/bench/load_sockets.h"

namespace sluice::bench {
namespace {

constexpr std::uint64_t kSmallBody = 16 * 1024;

}  // namespace

Server::Server(std::uint16_t port, int count)
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)), block_(kChunk) {
  for (int i = 0; i < count; ++i) {
    const int fd = CheckedSocket();
    const int on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    NoDelay(fd);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port + i));
    if (::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) Fail("bind");
    if (::listen(fd, 4096) != 0) Fail("listen");
    listeners_.push_back(fd);
    Watch(epoll_, fd, static_cast<std::uint64_t>(fd), EPOLLIN);
  }
}

void Server::Run() {
  std::puts("ready");
  std::fflush(stdout);
  std::array<epoll_event, 256> events;
  while (true) {
    const int count = ::epoll_wait(epoll_, events.data(), events.size(), -1);
    for (int i = 0; i < count; ++i) {
      const auto fd = static_cast<int>(events[static_cast<std::size_t>(i)].data.u64);
      if (std::ranges::find(listeners_, fd) != listeners_.end()) {
        Accept(fd);
      } else {
        Serve(fd);
      }
    }
  }
}

void Server::Accept(int listener) {
  while (true) {
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    const auto index = static_cast<std::size_t>(fd);
    if (served_.size() <= index) served_.resize(index + 1);
    served_[index] = {};
    Watch(epoll_, fd, index, EPOLLIN | EPOLLOUT | EPOLLET);
  }
}

void Server::Serve(int fd) {
  Served& client = served_[static_cast<std::size_t>(fd)];
  while (client.mode != Mode::kStream) {
    const ssize_t got = ::recv(fd, block_.data(), block_.size(), 0);
    if (got < 0 && errno == EAGAIN) break;
    if (got <= 0) {
      ::close(fd);
      return;
    }
    OnBytes(fd, client, static_cast<std::size_t>(got));
  }
  while (client.mode == Mode::kStream || client.owed > 0) {
    const std::size_t size = client.mode == Mode::kStream
                                 ? block_.size()
                                 : std::min<std::uint64_t>(client.owed, block_.size());
    const ssize_t sent = ::send(fd, block_.data(), size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN) return;
    if (sent < 0) {
      ::close(fd);
      return;
    }
    if (client.mode != Mode::kStream) client.owed -= static_cast<std::uint64_t>(sent);
  }
}

Server::Mode Server::ModeOf(char first) {
  switch (first) {
    case 'S':
      return Mode::kStream;
    case 'F':
      return Mode::kFetch;
    case 'G':
      return Mode::kHttp;
    default:
      return Mode::kEcho;
  }
}

// Answers a request whose target ends with "=SIZE"; there is one at a time.
void Server::OnHttp(int fd, Served& client, std::string_view bytes) {
  client.head += bytes;
  if (!client.head.ends_with("\r\n\r\n")) return;
  const std::size_t size = client.head.find('=');
  if (size == std::string::npos) Fail("a request without a size");
  const std::uint64_t body = std::strtoull(client.head.c_str() + size + 1, nullptr, 10);
  client.head.clear();
  std::string answer =
      "HTTP/1.1 200 OK\r\nDate: Fri, 27 Nov 2026 08:00:00 GMT\r\nServer: load\r\n"
      "Content-Type: application/json\r\nContent-Length: ";
  answer += std::to_string(body);
  answer += "\r\n\r\n";
  // A small body goes with the head, as most programs send it.
  const bool is_small = body <= kSmallBody;
  if (is_small) answer.append(static_cast<std::size_t>(body), 'x');
  client.owed = is_small ? 0 : body;
  // Fits always: there is one answer at a time.
  [[maybe_unused]] const ssize_t sent =
      ::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL | (is_small ? 0 : MSG_MORE));
}

void Server::OnBytes(int fd, Served& client, std::size_t size) {
  std::size_t asked = size;
  if (client.mode == Mode::kNew) {
    client.mode = ModeOf(block_[0]);
    if (client.mode == Mode::kFetch) {
      FetchHeader header;
      if (size < sizeof(header)) Fail("a header in pieces");
      std::memcpy(&header, block_.data(), sizeof(header));
      client.answer_bytes = header.answer_bytes;
      asked = 1;
    }
  }
  if (client.mode == Mode::kFetch) client.owed += asked * client.answer_bytes;
  if (client.mode == Mode::kHttp) OnHttp(fd, client, {block_.data(), size});
  if (client.mode == Mode::kEcho) {
    // Small enough to fit always.
    [[maybe_unused]] const ssize_t sent = ::send(fd, block_.data(), size, MSG_NOSIGNAL);
  }
}

}  // namespace sluice::bench
