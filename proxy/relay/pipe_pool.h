// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <cstdint>

#include "base/unique_fd.h"

namespace sluice::proxy {

// A pipe through which splice(2) moves bytes from one socket to another.
struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
  std::uint32_t capacity_bytes = 0;
  bool in_use = false;
  bool used = false;  // in use since the last PipePool::Trim
};

// The pipes of one worker. The kernel counts the pages of all pipes of a user id, over all
// containers of a node, against one quota (fs.pipe-user-pages-soft, 16,384), and every sidecar runs
// as the same user. So there are few pipes, created on demand and in use only while they hold
// bytes; one that came out small, because the quota is used up, is not used. Not thread-safe.
class PipePool {
 public:
  // None if all are in use, or if the kernel gives no pipe of a useful size: copy instead. The pool
  // keeps ownership.
  Pipe* Acquire();

  // Returns a pipe. A pipe that is not empty (its connection died) is closed.
  void Release(Pipe& pipe, bool empty);

  // Closes the pipes not used since the last call; call now and then while some are idle, so that
  // the pool is only as large as recently needed.
  void Trim();
  // Pipes that are open and not in use.
  int idle() const { return idle_; }

 private:
  // A pipe is held while its receiver is slow; if more streams than this stall at once, the others
  // are copied.
  static constexpr std::size_t kMaxPipes = 16;

  bool Open(Pipe& pipe);

  std::array<Pipe, kMaxPipes> pipes_;
  int idle_ = 0;
  // How many more requests get none before the kernel is asked again.
  std::uint32_t backoff_ = 0;
};

}  // namespace sluice::proxy
