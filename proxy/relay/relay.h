// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "proxy/config.h"
#include "proxy/relay/pipe_pool.h"

namespace sluice::proxy {

struct Hops;

// What one worker lends to whichever connection it is serving. Not thread-safe.
struct RelayResources {
  // As large as what one recv(2) should take: 64 KiB cost 0.39 CPU s/GB where 16 KiB cost 0.83;
  // larger ones gain little, since a stream that fills this one is spliced.
  static constexpr std::size_t kBufferBytes = 64 * 1024;
  // All flows together may keep this much and still read whole buffers: 32 receivers that stall. A
  // hostile side makes thousands of them stall, and would be given 64 KiB for each...
  static constexpr std::size_t kGenerousBytes = 2 * 1024 * 1024;
  // ...so that from then on one read is a page, which is what a stalled connection then costs.
  static constexpr std::size_t kFrugalReadBytes = 4 * 1024;

  // What all flows may move before the worker looks for events again: about a quarter of a
  // millisecond, for which a short message waits at most, whatever else is going on. The look costs
  // half a microsecond.
  static constexpr std::size_t kTurnBytes = 1024 * 1024;
  // What one of many flows may move at a time: a pipe full. Less costs more system calls.
  static constexpr std::size_t kLeastShareBytes = 256 * 1024;

  // How much one recv(2) is to take now.
  std::size_t read_bytes() const {
    return buffered_bytes < kGenerousBytes ? kBufferBytes : kFrugalReadBytes;
  }

  std::size_t turn_bytes = kTurnBytes;
  // What one flow may move now before the others have their turn. A flow of which it is not known
  // that it has much to say gets one buffer.
  std::size_t share_bytes = kBufferBytes;
  // What the flows have moved, all together.
  std::uint64_t moved_bytes = 0;
  // What the flows of this worker keep for receivers that are full.
  std::size_t buffered_bytes = 0;
  std::array<char, kBufferBytes> buffer;
  PipePool pipes;
  Splicing splicing = Splicing::kAuto;
};

// Who may look at the bytes that a flow copies: none when `look` is null. Bytes that are spliced
// are not seen; that comes after several full buffers.
struct Tap {
  void (*look)(void* context, std::span<const std::uint8_t> bytes) = nullptr;
  void* context = nullptr;
};

// One socket of a connection and what is known about it. Readiness is edge-triggered: it is set by
// an event and cleared by the call that found the socket drained or full.
struct Endpoint {
  int fd = -1;
  bool readable = false;
  bool writable = false;
  bool hangup = false;  // the peer's FIN or reset has arrived: read until the end, events are over
  bool failed = false;  // an error is pending; the next call on the socket gives it
  // The peer has sent urgent data (EPOLLPRI). recv(2) stops in front of it and goes on behind it
  // with the next call, so that a short read says nothing; splice(2) never gets past it.
  bool urgent = false;
  // With a transport, `readable` and `writable` say whether its Read and Write may be called, and
  // these what the two wait for when it is not what their names say.
  bool read_waits_for_room = false;
  bool write_waits_for_input = false;
};

// To be called after an event has set `readable` or `writable` of an endpoint with a transport.
void WakeCrosswise(Endpoint& endpoint);

// What a step of a flow ended with.
enum class Progress : std::uint8_t {
  kWaiting,   // nothing more to do before the next event
  kAgain,     // its share is used up and there may be more: come back after the others
  kFinished,  // the source has ended and all is written: pass the end on
  kFailed,    // see Flow::error and Flow::error_at_source
};

// The bytes of one direction of a connection. Holds no memory while nothing is stuck: bytes are
// moved through the worker's buffer and only what the receiver would not take is buffered, at most
// one buffer or one pipe full; nothing is read while something is buffered. A stream that keeps the
// worker's buffer full is moved by splice(2), and copied again when it goes quiet, unless Splicing
// says otherwise.
class Flow {
 public:
  // Between two plain ends. Moves bytes from `from` to `to` until there is nothing to read, no room
  // to write, or RelayResources::share_bytes are moved. Does not pass the FIN on: when both
  // directions are finished, close(2) does that without another system call.
  Progress Run(Endpoint& from, Endpoint& to, RelayResources& resources, Tap tap = {});

  // The same through transports or a stage, by copying. The end is passed on to a receiver that has
  // a transport (kFinished: the transport has sent it). May delete the stage, and when nothing is
  // left that is not plain, Run goes on. One call may enable the other direction: see CanRun.
  Progress RunLayered(Endpoint& from, Endpoint& to, const Hops& hops, RelayResources& resources,
                      Tap tap = {});

  // Whether there is something to do without another event. Between plain ends that is what kAgain
  // says; a transport learns in one direction what the other has waited for.
  bool CanRun(const Endpoint& from, const Endpoint& to) const {
    return !finished_ && to.writable && (from.readable || ended_ || buffered_);
  }

  // Gives back what is held, at the end of the connection.
  void Drop(RelayResources& resources);

  // Puts bytes in front of the stream, before it starts. False when there is no memory.
  bool Prepend(const char* data, std::size_t size, RelayResources& resources);

  // Bytes taken from the source, as its transport gives them, without those prepended.
  std::uint64_t bytes_read() const { return bytes_read_; }
  // Bytes given to the receiver's socket or transport, including those prepended.
  std::uint64_t bytes_written() const { return bytes_written_; }
  bool finished() const { return finished_; }
  // The last read took much: there is probably more, and whoever has little to say goes first.
  bool bulk() const { return bulk_; }
  // The source has ended, though not all may be delivered.
  bool ended() const { return ended_; }
  int error() const { return error_; }
  // Where error() happened: reading from the source, or writing to the receiver.
  bool error_at_source() const { return error_at_source_; }

 private:
  enum class Outcome : std::uint8_t { kMoved, kBlocked, kEnded, kFailed };

  // Steps of one flow before the others have their turn, however small they are.
  static constexpr int kMaxSteps = 16;

  Outcome Flush(Endpoint& to, RelayResources& resources);
  bool Splices(const Endpoint& from, const RelayResources& resources, Tap tap) const;
  Outcome Copy(Endpoint& from, Endpoint& to, RelayResources& resources, Tap tap);
  Outcome Splice(Endpoint& from, Endpoint& to, RelayResources& resources, Tap tap);
  Outcome EmptyPipe(Endpoint& to);
  // In layered_flow.cc.
  Outcome FlushBuffered(Endpoint& to, const Hops& hops, RelayResources& resources);
  Outcome ReadAndPass(Endpoint& from, Endpoint& to, const Hops& hops, RelayResources& resources,
                      Tap tap);
  Outcome PassStage(std::span<const char> bytes, Endpoint& to, const Hops& hops,
                    RelayResources& resources);
  Outcome Emit(std::span<const char> bytes, Endpoint& to, const Hops& hops,
               RelayResources& resources);
  Outcome PassEnd(Endpoint& to, const Hops& hops);

  Outcome Fail(int error, bool at_source);
  bool Buffer(const char* data, std::size_t size, RelayResources& resources);
  void ReleaseBuffered(RelayResources& resources);
  void ReturnPipe(RelayResources& resources);

  std::uint64_t bytes_read_ = 0;
  std::uint64_t bytes_written_ = 0;
  std::unique_ptr<char[]> buffered_;
  std::uint32_t buffered_begin_ = 0;
  std::uint32_t buffered_end_ = 0;
  Pipe* pipe_ = nullptr;
  std::uint32_t piped_ = 0;
  std::uint16_t error_ = 0;
  std::uint8_t full_reads_ = 0;
  std::uint8_t short_splices_ = 0;
  bool splicing_ : 1 = false;
  bool bulk_ : 1 = false;
  bool ended_ : 1 = false;
  bool finished_ : 1 = false;
  bool error_at_source_ : 1 = false;
};

}  // namespace sluice::proxy
