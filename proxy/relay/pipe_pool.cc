// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/relay/pipe_pool.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace sluice::proxy {
namespace {

// 64 pages: a quarter MiB at a time.
constexpr int kWantedBytes = 256 * 1024;
// With smaller pipes splice(2) costs more than copying through the worker's buffer: the 8 KiB pipe
// of a used-up quota leaves a third of the throughput.
constexpr int kUsefulBytes = 64 * 1024;
// The quota is shared with other processes and does not recover at once.
constexpr std::uint32_t kBackoffRequests = 1024;

}  // namespace

Pipe* PipePool::Acquire() {
  // The first free pipe is the one used last: its pages are in the cache.
  const auto pipe = std::ranges::find_if(pipes_, [](const Pipe& p) { return !p.in_use; });
  if (pipe == pipes_.end()) return nullptr;
  if (pipe->read_end) {
    --idle_;
  } else if (!Open(*pipe)) {
    return nullptr;
  }
  pipe->in_use = pipe->used = true;
  return &*pipe;
}

bool PipePool::Open(Pipe& pipe) {
  if (backoff_ > 0) {
    --backoff_;
    return false;
  }
  int ends[2];
  if (::pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) {
    backoff_ = kBackoffRequests;
    return false;
  }
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  int capacity = ::fcntl(ends[1], F_SETPIPE_SZ, kWantedBytes);
  if (capacity < 0) capacity = ::fcntl(ends[1], F_GETPIPE_SZ);
  if (capacity < kUsefulBytes) {
    backoff_ = kBackoffRequests;
    return false;
  }
  pipe = {.read_end = std::move(read_end),
          .write_end = std::move(write_end),
          .capacity_bytes = static_cast<std::uint32_t>(capacity)};
  return true;
}

void PipePool::Release(Pipe& pipe, bool empty) {
  if (empty) {
    pipe.in_use = false;
    ++idle_;
  } else {
    pipe = Pipe{};
  }
}

void PipePool::Trim() {
  for (Pipe& pipe : pipes_) {
    if (pipe.in_use || !pipe.read_end) continue;
    if (!std::exchange(pipe.used, false)) {
      pipe = Pipe{};
      --idle_;
    }
  }
}

}  // namespace sluice::proxy
