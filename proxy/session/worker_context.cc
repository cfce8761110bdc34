// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/session/worker_context.h"

#include <algorithm>
#include <cstddef>

#include "proxy/session/session.h"

namespace sluice::proxy {

void PendingSessions::Append(Session& session) {
  session.pending_before_ = last_;
  session.pending_after_ = nullptr;
  (last_ != nullptr ? last_->pending_after_ : first_) = &session;
  last_ = &session;
}

void PendingSessions::Remove(Session& session) {
  Session* const before = session.pending_before_;
  Session* const after = session.pending_after_;
  (before != nullptr ? before->pending_after_ : first_) = after;
  (after != nullptr ? after->pending_before_ : last_) = before;
}

Session& HandshakeQueue::Take() {
  const bool take_new = begun_.empty() || (new_is_next_ && !new_.empty());
  new_is_next_ = !take_new;
  std::deque<Session*>& queue = take_new ? new_ : begun_;
  Session& session = *queue.front();
  queue.pop_front();
  return session;
}

void ServeReady(WorkerContext& worker) {
  std::vector<Session*>& ready = worker.ready;
  if (ready.empty()) return;
  RelayResources& relay = worker.relay;
  const std::size_t waiting = ready.size();
  relay.share_bytes = std::max(RelayResources::kLeastShareBytes, relay.turn_bytes / waiting);
  const std::uint64_t enough = relay.moved_bytes + relay.turn_bytes;
  std::size_t served = 0;
  while (served < waiting && relay.moved_bytes < enough) {
    Session& session = *ready[served++];
    session.set_queued(false);
    if (session.open()) session.Continue(worker);
  }
  ready.erase(ready.begin(), ready.begin() + static_cast<std::ptrdiff_t>(served));
  relay.share_bytes = RelayResources::kBufferBytes;
}

void ServeHandshake(WorkerContext& worker) {
  while (!worker.handshakes.empty()) {
    Session& session = worker.handshakes.Take();
    session.set_queued(false);
    if (!session.open()) continue;
    session.ContinueHandshake(worker);
    return;
  }
}

}  // namespace sluice::proxy
