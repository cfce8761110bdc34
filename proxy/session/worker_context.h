// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "proxy/accept/client_counts.h"
#include "proxy/accept/own_sockets.h"
#include "proxy/config.h"
#include "proxy/http/exchange.h"
#include "proxy/mtls/mutual_tls.h"
#include "proxy/relay/relay.h"
#include "proxy/session/timer_wheel.h"
#include "proxy/stats.h"

namespace sluice::proxy {

class Session;

// The sessions of one worker and direction that are being set up, in the order in which they began.
// Not thread-safe.
class PendingSessions {
 public:
  void Append(Session& session);
  void Remove(Session& session);
  // nullptr when there is none.
  Session* oldest() const { return first_; }

 private:
  Session* first_ = nullptr;
  Session* last_ = nullptr;
};

// Sessions whose TLS handshake can go on. Handshakes that have begun and those that have not take
// turns, each first come first served: when many clients come at once, some handshakes finish while
// others begin, instead of all of them at the end. A handshake in progress holds several times the
// memory of a finished one, and its peer waits. Not thread-safe.
class HandshakeQueue {
 public:
  void Append(Session& session, bool has_begun) { (has_begun ? begun_ : new_).push_back(&session); }
  std::size_t size() const { return new_.size() + begun_.size(); }
  bool empty() const { return size() == 0; }
  // Of a queue that is not empty.
  Session& Take();

 private:
  std::deque<Session*> new_;
  std::deque<Session*> begun_;
  bool new_is_next_ = false;
};

// One tick of a worker's timers. Coarse: what is timed here takes seconds.
inline constexpr std::chrono::milliseconds kTick{16};
// The ticks for `time`, never too few: part of the current one has passed already.
constexpr std::uint64_t Ticks(std::chrono::milliseconds time) {
  return static_cast<std::uint64_t>((time + kTick - std::chrono::milliseconds(1)) / kTick) + 1;
}

// What a worker gives to its sessions. Belongs to one thread.
struct WorkerContext {
  const ProxyConfig& config;
  WorkerStats& stats;
  int epoll_fd;
  RelayResources& relay;
  TimerWheel& timers;
  OwnSockets& own_sockets;
  // The time of this turn of the event loop, in ticks.
  std::uint64_t now_ticks = 0;
  // Sessions that have more to move, first come first served.
  std::vector<Session*> ready;
  // Sessions that are closed; events of this turn may still name them.
  std::vector<Session*> closed;
  // Null: no connection is mutual TLS.
  const MutualTls* mtls = nullptr;
  // A step of a handshake takes as long as hundreds of small messages, so that they have a queue of
  // their own.
  HandshakeQueue handshakes = {};
  std::array<PendingSessions, 2> pending = {};  // by direction
  // How many inbound sessions each client has.
  ClientCounts clients = {};
  // Open sessions whose client has not been sent anything yet.
  std::size_t unanswered = 0;
  // The access log's lines of this turn. Stays empty if there is no access log.
  std::string log_lines = {};
  // Makes the ids of requests and spans. Null: connections are not looked at for HTTP.
  IdSource* ids = nullptr;
  // By direction: whether its connections should end soon.
  std::array<bool, 2> draining = {};

  // Whether there is something to do without another event.
  bool HasWork() const { return !ready.empty() || !handshakes.empty(); }
};

// Lets the sessions of WorkerContext::ready move bytes one after the other, up to
// RelayResources::turn_bytes in all. The remaining sessions wait for the next turn, so that
// sessions with small messages are served in between.
void ServeReady(WorkerContext& worker);

// Does one step of one handshake. Between two steps the worker handles events and relays: a
// thousand clients that begin a handshake and never finish it delay nobody by more than one step.
void ServeHandshake(WorkerContext& worker);

}  // namespace sluice::proxy
