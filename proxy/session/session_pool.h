// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <vector>

#include "proxy/session/session.h"

namespace sluice::proxy {

// The sessions of one worker, in slabs: no allocation per connection, no header per session, and a
// session's memory is the next one's while it is still in the cache. Not thread-safe.
class SessionPool {
 public:
  SessionPool() = default;
  SessionPool(const SessionPool&) = delete;
  SessionPool& operator=(const SessionPool&) = delete;

  // None when there is no memory.
  Session* Acquire();
  // `session` must be closed.
  void Release(Session& session);

  // Calls `visit(Session&)` for each open session; it may close it.
  template <typename Visit>
  void ForEachOpen(Visit&& visit) {
    for (const auto& slab : slabs_) {
      for (std::size_t i = 0; i < kSlabSessions; ++i) {
        if (slab[i].open()) visit(slab[i]);
      }
    }
  }

 private:
  // About 20 KiB at a time: a proxy with few connections stays small.
  static constexpr std::size_t kSlabSessions = 64;

  std::vector<std::unique_ptr<Session[]>> slabs_;
  std::vector<Session*> free_;
};

}  // namespace sluice::proxy
