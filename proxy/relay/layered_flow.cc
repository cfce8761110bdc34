// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// The part of Flow for connections that are not plain: the same steps as in relay.cc, which does
// not know of transports and stages and pays nothing for them.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "proxy/relay/layers.h"
#include "proxy/relay/relay.h"

namespace sluice::proxy {
namespace {

using Status = Transport::Status;

bool Waits(Status status) {
  return status == Status::kWaitsForInput || status == Status::kWaitsForRoom;
}

// The result of reads or writes; `error` is set only when no byte was moved. The endpoint knows
// whether they wait.
struct Moved {
  std::size_t bytes = 0;
  bool ended = false;
  int error = 0;
};

Moved ReadPlain(Endpoint& from, std::span<char> into) {
  const ssize_t got = ::recv(from.fd, into.data(), into.size(), 0);
  if (got == 0) return {.ended = true};
  if (got < 0) {
    if (errno != EAGAIN) return {.error = errno};
    from.readable = false;
    return {};
  }
  const auto size = static_cast<std::size_t>(got);
  // As in Flow::Copy.
  if (size < into.size()) from.readable = from.hangup || from.urgent;
  return {.bytes = size};
}

// Small records are merged, to avoid small writes; at most this many, because a record may be a
// single byte and costs as much as a page.
constexpr int kMaxReads = 16;

Moved ReadTransport(Endpoint& from, Transport& transport, std::span<char> into) {
  Moved moved;
  for (int reads = 0; reads < kMaxReads && moved.bytes < into.size(); ++reads) {
    const Transport::Result result = transport.Read(into.subspan(moved.bytes));
    if (result.took_input && from.write_waits_for_input) from.writable = true;
    if (result.status == Status::kDone) {
      moved.bytes += result.bytes;
      continue;
    }
    if (Waits(result.status)) {
      from.readable = false;
      from.read_waits_for_room = result.status == Status::kWaitsForRoom;
    } else if (moved.bytes == 0) {
      moved.ended = result.status == Status::kEnded;
      if (result.status == Status::kFailed) moved.error = result.error;
    }
    break;
  }
  return moved;
}

// Of a stage that lets this much pass it is known what three full reads would show, that it is a
// bulk transfer.
constexpr std::uint64_t kBulkBodyBytes = 3 * RelayResources::kBufferBytes;
// Less is one more read, which is due anyway for what comes behind it.
constexpr std::uint64_t kLeastSplicedBytes = RelayResources::kBufferBytes;

// What a stage adds to bytes, as a rule: the headers of a mesh.
constexpr std::size_t kAddedBytes = 512;

Moved WritePlain(Endpoint& to, std::span<const char> from) {
  const ssize_t sent = ::send(to.fd, from.data(), from.size(), MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN) return {.error = errno};
  const std::size_t done = sent < 0 ? 0 : static_cast<std::size_t>(sent);
  if (done < from.size()) to.writable = false;
  return {.bytes = done};
}

// Updates the readiness of an end after Write or Shutdown.
void NoteWrite(Endpoint& to, const Transport::Result& result) {
  if (result.took_input) to.readable = true;
  if (Waits(result.status)) {
    to.writable = false;
    to.write_waits_for_input = result.status == Status::kWaitsForInput;
  }
}

Moved WriteTransport(Endpoint& to, Transport& transport, std::span<const char> from) {
  Moved moved;
  while (moved.bytes < from.size()) {
    const Transport::Result result = transport.Write(from.subspan(moved.bytes));
    NoteWrite(to, result);
    if (result.status != Status::kDone) {
      if (result.status == Status::kFailed && moved.bytes == 0) moved.error = result.error;
      break;
    }
    moved.bytes += result.bytes;
  }
  return moved;
}

Moved Write(Endpoint& to, Transport* transport, std::span<const char> from) {
  return transport != nullptr ? WriteTransport(to, *transport, from) : WritePlain(to, from);
}

}  // namespace

void WakeCrosswise(Endpoint& endpoint) {
  const bool input = endpoint.readable;
  const bool room = endpoint.writable;
  if (input && endpoint.write_waits_for_input) endpoint.writable = true;
  if (room && endpoint.read_waits_for_room) endpoint.readable = true;
}

Flow::Outcome Flow::FlushBuffered(Endpoint& to, const Hops& hops, RelayResources& resources) {
  const Moved moved =
      Write(to, hops.to,
            {buffered_.get() + buffered_begin_, std::size_t{buffered_end_ - buffered_begin_}});
  if (moved.error != 0) return Fail(moved.error, false);
  bytes_written_ += moved.bytes;
  buffered_begin_ += static_cast<std::uint32_t>(moved.bytes);
  if (buffered_begin_ == buffered_end_) ReleaseBuffered(resources);
  return to.writable ? Outcome::kMoved : Outcome::kBlocked;
}

Flow::Outcome Flow::Emit(std::span<const char> bytes, Endpoint& to, const Hops& hops,
                         RelayResources& resources) {
  if (bytes.empty()) return Outcome::kMoved;
  const Moved moved = Write(to, hops.to, bytes);
  if (moved.error != 0) return Fail(moved.error, false);
  bytes_written_ += moved.bytes;
  bytes = bytes.subspan(moved.bytes);
  if (!bytes.empty() && !Buffer(bytes.data(), bytes.size(), resources)) return Fail(ENOMEM, false);
  return to.writable ? Outcome::kMoved : Outcome::kBlocked;
}

Flow::Outcome Flow::PassStage(std::span<const char> bytes, Endpoint& to, const Hops& hops,
                              RelayResources& resources) {
  StageSlot& slot = hops.stage;
  if (slot.passes >= bytes.size()) {
    slot.passes -= bytes.size();
    return Emit(bytes, to, hops, resources);
  }
  std::string out;
  out.reserve(bytes.size() + kAddedBytes);
  while (!bytes.empty()) {
    if (slot.passes == 0) {
      const Stage::Answer answer = slot.stage->Put(bytes, out);
      if (answer.error != 0) return Fail(answer.error, true);
      const bool stuck = answer.taken == 0 && answer.passes == 0;
      if (stuck || answer.taken > bytes.size()) return Fail(EPROTO, true);
      bytes = bytes.subspan(answer.taken);
      slot.passes = answer.passes;
    }
    const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(slot.passes, bytes.size()));
    out.append(bytes.data(), size);
    bytes = bytes.subspan(size);
    if (slot.passes == Stage::kTheRest) {
      slot.stage.reset();
      break;
    }
    slot.passes -= size;
  }
  return Emit(out, to, hops, resources);
}

Flow::Outcome Flow::ResumeStage(Endpoint& to, const Hops& hops, RelayResources& resources) {
  StageSlot& slot = hops.stage;
  std::string out;
  const Stage::Resumed resumed = slot.stage->Resume(out);
  if (resumed.error != 0) return Fail(resumed.error, true);
  slot.passes = resumed.passes;
  if (resumed.ends) {
    ended_ = true;
    bulk_ = false;
  }
  if (resumed.ends || resumed.passes == Stage::kTheRest) slot.stage.reset();
  return Emit(out, to, hops, resources);
}

bool Flow::SplicesBody(const Endpoint& from, const Hops& hops, const RelayResources& resources,
                       Tap tap) const {
  const std::uint64_t passes = hops.stage.passes;
  if (passes == 0 || hops.from != nullptr || hops.to != nullptr) return false;
  const bool is_worth_it = passes >= kLeastSplicedBytes || resources.splicing == Splicing::kOn;
  return is_worth_it && Splices(from, resources, tap);
}

// At most what passes: the stage sees what comes behind it.
Flow::Outcome Flow::SpliceBody(Endpoint& from, Endpoint& to, const Hops& hops,
                               RelayResources& resources, Tap tap) {
  const Outcome outcome = FillPipe(from, hops.stage.passes, resources);
  if (outcome == Outcome::kEnded) return ReadAndPass(from, to, hops, resources, tap);
  if (outcome != Outcome::kMoved) return outcome;
  hops.stage.passes -= piped_;
  return EmptyPipe(to);
}

Flow::Outcome Flow::ReadAndPass(Endpoint& from, Endpoint& to, const Hops& hops,
                                RelayResources& resources, Tap tap) {
  const std::span<char> buffer(resources.buffer.data(), resources.read_bytes());
  const Moved moved =
      hops.from != nullptr ? ReadTransport(from, *hops.from, buffer) : ReadPlain(from, buffer);
  if (moved.ended) {
    ended_ = true;
    bulk_ = false;
    from.readable = false;
    const std::unique_ptr<Stage> stage = std::move(hops.stage.stage);
    if (!stage || hops.broken) return Outcome::kMoved;
    std::string out;
    const int error = stage->End(hops.stage.passes, out);
    if (error != 0) return Fail(error, true);
    return Emit(out, to, hops, resources);
  }
  if (moved.error != 0) return Fail(moved.error, true);
  if (moved.bytes == 0) return from.readable ? Outcome::kMoved : Outcome::kBlocked;
  const std::span<const char> bytes = buffer.first(moved.bytes);
  bytes_read_ += bytes.size();
  bulk_ = bytes.size() == buffer.size();
  if (tap.look != nullptr)
    tap.look(tap.context, {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
  if (hops.stage.stage == nullptr) return Emit(bytes, to, hops, resources);
  const Outcome outcome = PassStage(bytes, to, hops, resources);
  // As in Flow::Copy, unless the stage knows better.
  if (!bulk_ || buffer.size() < RelayResources::kBufferBytes) {
    full_reads_ = 0;
  } else if (++full_reads_ >= kFullReadsToSplice || hops.stage.passes >= kBulkBodyBytes) {
    full_reads_ = 0;
    short_splices_ = 0;
    splicing_ = true;
  }
  return outcome;
}

// The session shuts down a plain end, or closes it.
Flow::Outcome Flow::PassEnd(Endpoint& to, const Hops& hops) {
  if (hops.to != nullptr && !hops.broken) {
    const Transport::Result result = hops.to->Shutdown();
    NoteWrite(to, result);
    if (Waits(result.status)) return Outcome::kBlocked;
    if (result.status == Status::kAgain) return Outcome::kMoved;
    // Fails if the receiver has reset meanwhile, as shutdown(2) does; all bytes were written.
  }
  finished_ = true;
  return Outcome::kEnded;
}

bool Flow::CanRun(const Endpoint& from, const Endpoint& to, const StageSlot& stage) const {
  if (finished_ || !to.writable) return false;
  return ended_ || buffered_ || piped_ > 0 || stage.HasWork() || (from.readable && !stage.Waits());
}

Progress Flow::RunLayered(Endpoint& from, Endpoint& to, const Hops& hops, RelayResources& resources,
                          Tap tap) {
  if (finished_) return Progress::kFinished;
  Progress progress = Progress::kAgain;
  const std::uint64_t read_before = bytes_read_;
  const std::uint64_t written_before = bytes_written_;
  for (int step = 0; step < kMaxSteps && progress == Progress::kAgain; ++step) {
    if (!to.writable) {
      progress = Progress::kWaiting;
      break;
    }
    Outcome outcome = Outcome::kMoved;
    try {
      if (buffered_) {
        outcome = FlushBuffered(to, hops, resources);
      } else if (piped_ > 0) {
        outcome = EmptyPipe(to);
      } else if (ended_) {
        outcome = PassEnd(to, hops);
      } else if (hops.stage.HasWork()) {
        outcome = ResumeStage(to, hops, resources);
      } else if (!from.readable || hops.stage.Waits()) {
        outcome = Outcome::kBlocked;
      } else if (bytes_read_ - read_before >= resources.share_bytes) {
        break;
      } else if (SplicesBody(from, hops, resources, tap)) {
        outcome = SpliceBody(from, to, hops, resources, tap);
      } else {
        outcome = ReadAndPass(from, to, hops, resources, tap);
      }
    } catch (const std::bad_alloc&) {
      outcome = Fail(ENOMEM, true);
    }
    switch (outcome) {
      case Outcome::kMoved:
        break;
      case Outcome::kBlocked:
        progress = Progress::kWaiting;
        break;
      case Outcome::kEnded:
        progress = Progress::kFinished;
        break;
      case Outcome::kFailed:
        progress = Progress::kFailed;
        break;
    }
  }
  // A stage may keep what it reads; that is work, too.
  resources.moved_bytes += std::max(bytes_read_ - read_before, bytes_written_ - written_before);
  if (piped_ == 0) ReturnPipe(resources);
  return progress;
}

}  // namespace sluice::proxy
