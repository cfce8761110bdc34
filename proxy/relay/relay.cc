// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/relay/relay.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <new>

namespace sluice::proxy {
namespace {

// When to splice. `scripts/bench thresholds` shows the effect for messages of all sizes: per GB,
// copying costs less CPU up to messages of 32 KiB, and splicing from 64 KiB on, half as much for a
// stream; in between they differ by a few percent, and switching late costs less than that.

// Copying is cheaper than two splices and a pipe below about this much at a time...
constexpr std::uint32_t kShortSpliceBytes = 16 * 1024;
// ...and a transfer that is merely limited by the network has such a splice now and then.
constexpr std::uint8_t kShortSplicesToCopy = 4;

}  // namespace

Flow::Outcome Flow::Fail(int error, bool at_source) {
  error_ = static_cast<std::uint16_t>(error);
  error_at_source_ = at_source;
  return Outcome::kFailed;
}

bool Flow::Buffer(const char* data, std::size_t size, RelayResources& resources) {
  buffered_.reset(new (std::nothrow) char[size]);
  if (!buffered_) return false;
  std::memcpy(buffered_.get(), data, size);
  buffered_begin_ = 0;
  buffered_end_ = static_cast<std::uint32_t>(size);
  resources.buffered_bytes += size;
  return true;
}

void Flow::ReleaseBuffered(RelayResources& resources) {
  if (!buffered_) return;
  buffered_.reset();
  resources.buffered_bytes -= buffered_end_;
}

bool Flow::Prepend(const char* data, std::size_t size, RelayResources& resources) {
  return Buffer(data, size, resources);
}

void Flow::ReturnPipe(RelayResources& resources) {
  if (pipe_ == nullptr) return;
  resources.pipes.Release(*pipe_, piped_ == 0);
  pipe_ = nullptr;
  piped_ = 0;
}

void Flow::Drop(RelayResources& resources) {
  ReleaseBuffered(resources);
  ReturnPipe(resources);
}

// The buffered bytes first: they are the oldest.
Flow::Outcome Flow::Flush(Endpoint& to, RelayResources& resources) {
  if (buffered_) {
    const ssize_t sent = ::send(to.fd, buffered_.get() + buffered_begin_,
                                buffered_end_ - buffered_begin_, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno != EAGAIN) return Fail(errno, false);
      to.writable = false;
      return Outcome::kBlocked;
    }
    bytes_written_ += static_cast<std::uint64_t>(sent);
    buffered_begin_ += static_cast<std::uint32_t>(sent);
    if (buffered_begin_ < buffered_end_) {
      to.writable = false;
      return Outcome::kBlocked;
    }
    ReleaseBuffered(resources);
  }
  if (piped_ > 0) {
    const Outcome outcome = EmptyPipe(to);
    if (outcome != Outcome::kMoved) return outcome;
    ReturnPipe(resources);
  }
  return Outcome::kMoved;
}

Flow::Outcome Flow::EmptyPipe(Endpoint& to) {
  while (piped_ > 0) {
    const ssize_t moved = ::splice(pipe_->read_end.get(), nullptr, to.fd, nullptr, piped_,
                                   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (moved <= 0) {
      if (moved == 0) return Fail(EPIPE, false);
      if (errno != EAGAIN) return Fail(errno, false);
      to.writable = false;
      return Outcome::kBlocked;
    }
    bytes_written_ += static_cast<std::uint64_t>(moved);
    piped_ -= static_cast<std::uint32_t>(moved);
  }
  return Outcome::kMoved;
}

bool Flow::Splices(const Endpoint& from, const RelayResources& resources, Tap tap) const {
  if (from.urgent) return false;
  switch (resources.splicing) {
    case Splicing::kAuto:
      return splicing_;
    case Splicing::kOn:
      return tap.look == nullptr;
    case Splicing::kOff:
      break;
  }
  return false;
}

Flow::Outcome Flow::Copy(Endpoint& from, Endpoint& to, RelayResources& resources, Tap tap) {
  char* const buffer = resources.buffer.data();
  const std::size_t wanted = resources.read_bytes();
  const ssize_t got = ::recv(from.fd, buffer, wanted, 0);
  if (got == 0) return Outcome::kEnded;
  if (got < 0) {
    if (errno != EAGAIN) return Fail(errno, true);
    from.readable = false;
    return Outcome::kBlocked;
  }
  const auto size = static_cast<std::size_t>(got);
  bytes_read_ += size;
  if (tap.look != nullptr)
    tap.look(tap.context, {reinterpret_cast<const std::uint8_t*>(buffer), size});
  bulk_ = size == wanted;
  if (size < wanted) {
    // A short read has drained the socket, and the next byte causes an event; but the FIN's event
    // may have come already, and then there is no other; and before urgent data every read is
    // short.
    from.readable = from.hangup || from.urgent;
    full_reads_ = 0;
  } else if (wanted == RelayResources::kBufferBytes && ++full_reads_ >= kFullReadsToSplice) {
    full_reads_ = 0;
    short_splices_ = 0;
    splicing_ = true;
  }
  ssize_t sent = ::send(to.fd, buffer, size, MSG_NOSIGNAL);
  if (sent < 0) {
    if (errno != EAGAIN) return Fail(errno, false);
    sent = 0;
  }
  const auto done = static_cast<std::size_t>(sent);
  bytes_written_ += done;
  if (done == size) return Outcome::kMoved;
  to.writable = false;
  if (!Buffer(buffer + done, size - done, resources)) return Fail(ENOMEM, false);
  return Outcome::kBlocked;
}

Flow::Outcome Flow::FillPipe(Endpoint& from, std::uint64_t most, RelayResources& resources) {
  if (pipe_ == nullptr) pipe_ = resources.pipes.Acquire();
  if (pipe_ == nullptr) {
    splicing_ = false;
    return Outcome::kEnded;
  }
  // The pipe is empty here, so that EAGAIN means a drained socket and never a full pipe.
  const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(pipe_->capacity_bytes, most));
  const ssize_t moved = ::splice(from.fd, nullptr, pipe_->write_end.get(), nullptr, size,
                                 SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  // Not necessarily the end: before urgent data splice(2) finds nothing, and returns 0 if the FIN
  // has arrived after it. recv(2) knows.
  if (moved == 0) return Outcome::kEnded;
  if (moved < 0) {
    if (errno != EAGAIN) return Fail(errno, true);
    // Also before urgent data; its arrival causes an event, which ends the splicing.
    from.readable = false;
    return Outcome::kBlocked;
  }
  piped_ = static_cast<std::uint32_t>(moved);
  bytes_read_ += piped_;
  bulk_ = piped_ >= kShortSpliceBytes;
  if (piped_ >= kShortSpliceBytes) {
    short_splices_ = 0;
  } else if (++short_splices_ >= kShortSplicesToCopy) {
    splicing_ = false;
  }
  return Outcome::kMoved;
}

Flow::Outcome Flow::Splice(Endpoint& from, Endpoint& to, RelayResources& resources, Tap tap) {
  const Outcome outcome = FillPipe(from, std::numeric_limits<std::uint64_t>::max(), resources);
  if (outcome == Outcome::kEnded) return Copy(from, to, resources, tap);
  return outcome == Outcome::kMoved ? EmptyPipe(to) : outcome;
}

Progress Flow::Run(Endpoint& from, Endpoint& to, RelayResources& resources, Tap tap) {
  if (finished_) return Progress::kFinished;
  Progress progress = Progress::kAgain;
  const std::uint64_t before = bytes_read_;
  const std::uint64_t written_before = bytes_written_;
  for (int step = 0; step < kMaxSteps && progress == Progress::kAgain; ++step) {
    if (!to.writable) {
      progress = Progress::kWaiting;
      break;
    }
    Outcome outcome = buffered_ || piped_ > 0 ? Flush(to, resources) : Outcome::kMoved;
    if (outcome == Outcome::kMoved) {
      if (ended_) {
        finished_ = true;
        progress = Progress::kFinished;
        break;
      }
      if (!from.readable) {
        progress = Progress::kWaiting;
        break;
      }
      if (bytes_read_ - before >= resources.share_bytes) break;
      outcome = Splices(from, resources, tap) ? Splice(from, to, resources, tap)
                                              : Copy(from, to, resources, tap);
    }
    switch (outcome) {
      case Outcome::kMoved:
        break;
      case Outcome::kBlocked:
        progress = Progress::kWaiting;
        break;
      case Outcome::kEnded:
        ended_ = true;
        bulk_ = false;
        from.readable = false;
        break;
      case Outcome::kFailed:
        progress = Progress::kFailed;
        break;
    }
  }
  resources.moved_bytes += bytes_written_ - written_before;
  if (piped_ == 0) ReturnPipe(resources);
  return progress;
}

}  // namespace sluice::proxy
