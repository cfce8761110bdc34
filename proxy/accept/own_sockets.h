// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/socket_address.h"

namespace sluice::proxy {

// The connections that this process has made lately, by both of their addresses. One that is
// accepted again has the same two: it comes from `local` and was going to `remote`. Anybody else's
// cannot have them while ours is open.
//
// Two things bring one back. Rules that do not exempt the proxy bring back all of them, without an
// end. And conntrack keeps the entry of an application's connection for ten seconds after a reset,
// with the redirection in it: when the kernel gives the same source port to one of ours, it follows
// that entry, whatever the rules say. Passed on once more, from a port far from it, it arrives. So
// a few passes are let through, and no more.
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

  // One that has passed so often is in a loop.
  static constexpr unsigned kLoop = 3;

  // `fd` is connected, or on its way to be. `passes`: 1 when the connection is made for somebody
  // else, one more than Passes when it is made for one of ours; up to kLoop + 1.
  void Add(int fd, const SocketAddress& local, const SocketAddress& remote, unsigned passes);
  // Before the socket is closed, after which the descriptor may be another one's.
  void Remove(int fd, const SocketAddress& local, const SocketAddress& remote);
  // How often a connection that is accepted with these addresses has passed this process already; 0
  // when it is not one of ours.
  unsigned Passes(const SocketAddress& local, const SocketAddress& remote) const;

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
