// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

// Shared by both sides of sluice-load.
namespace sluice::bench {

inline constexpr std::size_t kChunk = 256 * 1024;

// Begins a kFetch connection, and requests the first answer.
struct __attribute__((packed)) FetchHeader {
  char kind = 'F';
  std::uint32_t answer_bytes = 0;
};

[[noreturn]] inline void Fail(const char* what) {
  std::perror(what);
  std::exit(EXIT_FAILURE);
}

inline int CheckedSocket() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) Fail("socket");
  return fd;
}

inline void NoDelay(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

inline void Watch(int epoll, int fd, std::uint64_t data, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) Fail("epoll_ctl");
}

}  // namespace sluice::bench
