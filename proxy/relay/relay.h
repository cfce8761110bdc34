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
struct StageSlot;

// Resources that a worker lends to the connection it is serving. Not thread-safe.
struct RelayResources {
  // The size of one recv(2): 64 KiB cost 0.39 CPU s/GB, 16 KiB cost 0.83; larger buffers gain
  // little, because a stream that fills this one is spliced.
  static constexpr std::size_t kBufferBytes = 64 * 1024;
  // Up to this much buffered by all flows, reads are whole buffers: 32 stalled receivers. A hostile
  // peer can make thousands of them stall, and would get 64 KiB for each...
  static constexpr std::size_t kGenerousBytes = 2 * 1024 * 1024;
  // ...so beyond it one read is a page, and that is what another stalled connection costs.
  static constexpr std::size_t kFrugalReadBytes = 4 * 1024;

  // How much all flows may move before the worker checks for events again: about a quarter of a
  // millisecond, the longest that a short message waits under any load. The check costs half a
  // microsecond.
  static constexpr std::size_t kTurnBytes = 1024 * 1024;
  // How much one of many flows may move at a time: a full pipe. Less means more system calls.
  static constexpr std::size_t kLeastShareBytes = 256 * 1024;

  // How much one recv(2) should take now.
  std::size_t read_bytes() const {
    return buffered_bytes < kGenerousBytes ? kBufferBytes : kFrugalReadBytes;
  }

  std::size_t turn_bytes = kTurnBytes;
  // How much one flow may move now before the others get their turn. A flow not known to have much
  // data gets one buffer.
  std::size_t share_bytes = kBufferBytes;
  // How much all flows have moved together.
  std::uint64_t moved_bytes = 0;
  // How much the flows of this worker hold for receivers that are full.
  std::size_t buffered_bytes = 0;
  std::array<char, kBufferBytes> buffer;
  PipePool pipes;
  Splicing splicing = Splicing::kAuto;
};

// A callback that sees the bytes a flow copies: none if `look` is null. Spliced bytes are not seen;
// splicing starts after several full buffers.
struct Tap {
  void (*look)(void* context, std::span<const std::uint8_t> bytes) = nullptr;
  void* context = nullptr;
};

// One socket of a connection and its state. Readiness is edge-triggered: an event sets it, and the
// call that found the socket drained or full clears it.
struct Endpoint {
  int fd = -1;
  bool readable = false;
  bool writable = false;
  bool hangup = false;  // the peer's FIN or reset has arrived: read until the end, no more events
  bool failed = false;  // an error is pending; the next call on the socket returns it
  // The peer has sent urgent data (EPOLLPRI). recv(2) stops before it and continues after it in the
  // next call, so a short read has no meaning; splice(2) never gets past it.
  bool urgent = false;
  // With a transport, `readable` and `writable` say whether to call its Read and Write, and these
  // flags say if one of them waits for the other condition.
  bool read_waits_for_room = false;
  bool write_waits_for_input = false;
};

// Call after an event has set `readable` or `writable` of an endpoint with a transport.
void WakeCrosswise(Endpoint& endpoint);

// The result of a flow's step.
enum class Progress : std::uint8_t {
  kWaiting,   // nothing to do before the next event
  kAgain,     // its share is used up and there may be more: continue after the others
  kFinished,  // the source has ended and all is written: pass the end on
  kFailed,    // see Flow::error and Flow::error_at_source
};

// One direction of a connection. Holds no memory unless the receiver stalls: bytes go through the
// worker's buffer, and only what the receiver does not take is buffered, at most one buffer or
// one pipe; nothing is read while something is buffered. A stream that keeps the worker's buffer
// full is moved by splice(2), and copied again when it slows down, unless Splicing says
// otherwise.
class Flow {
 public:
  // Between two plain ends. Moves bytes from `from` to `to` until there is nothing to read, no room
  // to write, or RelayResources::share_bytes are moved. Does not pass the FIN on: when both
  // directions are finished, close(2) does that without another system call.
  Progress Run(Endpoint& from, Endpoint& to, RelayResources& resources, Tap tap = {});

  // The same through transports or a stage, by copying; what a stage lets pass between two plain
  // ends is spliced if it is large. Passes the end on to a receiver with a transport (kFinished:
  // the transport has sent it). May delete the stage; when both ends are plain then, Run takes
  // over. One call may enable the other direction: see CanRun.
  Progress RunLayered(Endpoint& from, Endpoint& to, const Hops& hops, RelayResources& resources,
                      Tap tap = {});

  // Whether there is something to do without a new event. Between plain ends kAgain says so; a
  // transport may learn in one direction what the other was waiting for.
  bool CanRun(const Endpoint& from, const Endpoint& to, const StageSlot& stage) const;

  // Frees everything held, at the end of the connection.
  void Drop(RelayResources& resources);

  // Puts bytes before the stream, before it starts. False when out of memory.
  bool Prepend(const char* data, std::size_t size, RelayResources& resources);

  // Bytes read from the source, after its transport, without those prepended.
  std::uint64_t bytes_read() const { return bytes_read_; }
  // Bytes written to the receiver's socket or transport, including those prepended.
  std::uint64_t bytes_written() const { return bytes_written_; }
  bool finished() const { return finished_; }
  // The last read was large: there is probably more, and flows with little data go first.
  bool bulk() const { return bulk_; }
  // The source has ended, though some bytes may not be delivered yet.
  bool ended() const { return ended_; }
  int error() const { return error_; }
  // Whether error() occurred reading from the source, or writing to the receiver.
  bool error_at_source() const { return error_at_source_; }

 private:
  enum class Outcome : std::uint8_t { kMoved, kBlocked, kEnded, kFailed };

  // The most steps of one flow per turn, however small they are.
  static constexpr int kMaxSteps = 16;

  // A stream that filled the buffer this often in a row is a bulk transfer. Three, because a single
  // large message fills it once or twice, and pays more for the pipe than it saves.
  static constexpr std::uint8_t kFullReadsToSplice = 3;

  Outcome Flush(Endpoint& to, RelayResources& resources);
  bool Splices(const Endpoint& from, const RelayResources& resources, Tap tap) const;
  Outcome Copy(Endpoint& from, Endpoint& to, RelayResources& resources, Tap tap);
  Outcome Splice(Endpoint& from, Endpoint& to, RelayResources& resources, Tap tap);
  // Moves at most `most` bytes into a pipe, which is empty. kEnded: no pipe, or nothing to splice,
  // and recv(2) knows why.
  Outcome FillPipe(Endpoint& from, std::uint64_t most, RelayResources& resources);
  Outcome EmptyPipe(Endpoint& to);
  // In layered_flow.cc.
  Outcome FlushBuffered(Endpoint& to, const Hops& hops, RelayResources& resources);
  bool SplicesBody(const Endpoint& from, const Hops& hops, const RelayResources& resources,
                   Tap tap) const;
  Outcome SpliceBody(Endpoint& from, Endpoint& to, const Hops& hops, RelayResources& resources,
                     Tap tap);
  Outcome ReadAndPass(Endpoint& from, Endpoint& to, const Hops& hops, RelayResources& resources,
                      Tap tap);
  Outcome ResumeStage(Endpoint& to, const Hops& hops, RelayResources& resources);
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
