// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice::proxy {

// Converts between a socket's bytes and those that the relay moves: TLS. A plain end has
// none.
//
// The socket belongs to the session, is non-blocking, and is watched edge-triggered in both
// directions. Every call may read and write it: a handshake's answer must be sent before more can
// be read, and a write may need the peer's part of the handshake. So the transport manages
// readiness. A call goes on until it has a result or has found the socket drained or full, and says
// which; only then will there be an event. Input that one call has taken causes no further event,
// though the other call may have waited for it; `took_input` tells. One call does a bounded amount
// of work; kAgain ends it early.
//
// No function throws. The destructor does not touch the socket. Used by one thread at a time, the
// session's.
class Transport {
 public:
  enum class Status : std::uint8_t {
    kDone,           // `bytes` were moved, at least one; Shutdown: the end is in the socket
    kAgain,          // nothing was moved, nothing to wait for: call again, after the others
    kWaitsForInput,  // nothing was moved; this call found the socket drained
    kWaitsForRoom,   // nothing was moved; this call found the socket full
    kEnded,          // Read: the peer has ended its stream properly
    kFailed,         // `error` is an errno. A truncated stream is a failure: ECONNRESET
  };
  struct Result {
    Status status = Status::kDone;
    // Something was read from the socket, useful to this call or not.
    bool took_input = false;
    int error = 0;
    std::size_t bytes = 0;
  };

  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;
  virtual ~Transport() = default;

  // Returns bytes of the stream, as many as fit. There may be more inside: call again until the
  // transport waits. Received bytes are returned even if nothing can be written any more, as after
  // a reset. kEnded and kFailed are final: later calls return the same.
  virtual Result Read(std::span<char> into) = 0;

  // Takes bytes from the front of `from`, maybe not all. Bytes taken are in the socket: if there is
  // room for only a part of them, it waits, and must be called again with the same bytes in front
  // (at any address, and maybe with more after them).
  virtual Result Write(std::span<const char> from) = 0;

  // Tells the peer that its stream has ended, after the last Write. Reading continues. Never
  // followed by shutdown(2), because a Read may still have to write.
  virtual Result Shutdown() = 0;

  // Bytes that Write has taken and that are not in the socket yet, after all: the kernel holds them
  // (kTLS), and they are lost if the socket is closed. They get there without a call, when there is
  // room. None after Shutdown is done.
  virtual std::size_t Unsent() const { return 0; }
};

}  // namespace sluice::proxy
