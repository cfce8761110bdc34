// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/session/session_pool.h"

namespace sluice::proxy {

Session* SessionPool::Acquire() {
  if (free_.empty()) {
    std::unique_ptr<Session[]> slab(new (std::nothrow) Session[kSlabSessions]);
    if (!slab) return nullptr;
    try {
      free_.reserve((slabs_.size() + 1) * kSlabSessions);
      slabs_.push_back(std::move(slab));
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
    // The last is taken first: from the start of the slab on.
    for (std::size_t i = kSlabSessions; i > 0; --i) free_.push_back(&slabs_.back()[i - 1]);
  }
  Session* const session = free_.back();
  free_.pop_back();
  return session;
}

void SessionPool::Release(Session& session) {
  // As new, in place.
  session.~Session();
  free_.push_back(new (&session) Session());
}

}  // namespace sluice::proxy
