// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/socket_address.h"

namespace sluice::proxy {

// The connections that this process has made lately, by both of their addresses. One that is
// accepted again, because the rules do not exempt the proxy, has the same two: it comes from
// `local` and was going to `remote`. Anybody else's cannot have them while ours is open.
//
// A reset by the peer gives our addresses free before we know of it, and an application may be
// given them next. So what the table knows is asked of the socket itself before it counts; only a
// connection that looks like one of ours costs that.
//
// What is looked for was added microseconds ago, so that it may forget: a fixed table in which a
// newer connection takes the place of an older one. Thread-safe, and without a lock.
class OwnSockets {
 public:
  OwnSockets();

  // `fd` is connected, or on its way to be.
  void Add(int fd, const SocketAddress& local, const SocketAddress& remote);
  // Before the socket is closed, after which the descriptor may be another one's.
  void Remove(int fd, const SocketAddress& local, const SocketAddress& remote);
  bool Contains(const SocketAddress& local, const SocketAddress& remote) const;

  // Says which uid the rules should exempt, the first time that it is called.
  void WarnOnce();

 private:
  // 32 KiB. More than the connections that are made between one's connect(2) and its arrival.
  static constexpr std::size_t kPlaces = 4096;

  std::array<std::atomic<std::uint64_t>, kPlaces> places_{};
  // Asked for once: a running proxy may not any more (cmd/sluice-proxy/harden.cc).
  const std::uint32_t uid_;
  std::atomic<bool> warned_{false};
};

}  // namespace sluice::proxy
