// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice::proxy {

// What stands between a socket and the bytes that the relay moves when they are not the same: TLS.
// A plain end has none.
//
// The socket belongs to the session, is non-blocking, and is watched edge-triggered in both
// directions. Each call may read and write it, whatever the call is for: a handshake's answer has
// to leave before more can be read, and a write may need the peer's part of the handshake. So
// readiness belongs to the transport. A call goes on until it has something to give or has found
// the socket drained or full, and says which; only then will there be an event. Input that a call
// has taken makes no event any more, though the other call may have waited for it; `took_input`
// tells. One call does a bounded amount of work; kAgain ends it early.
//
// No function throws. The destructor does not touch the socket. Used by one thread at a time, that
// of the session.
class Transport {
 public:
  enum class Status : std::uint8_t {
    kDone,           // `bytes` were moved, at least one; of Shutdown: the end is in the socket
    kAgain,          // nothing was moved, and nothing is waited for: call again, after the others
    kWaitsForInput,  // nothing was moved; this call has found the socket drained
    kWaitsForRoom,   // nothing was moved; this call has found the socket full
    kEnded,          // of Read: the peer has ended its stream as the protocol has it
    kFailed,         // `error` is an errno. A stream that breaks off has failed: ECONNRESET
  };
  struct Result {
    Status status = Status::kDone;
    // Something was read from the socket, whether it was of use to this call or not.
    bool took_input = false;
    int error = 0;
    std::size_t bytes = 0;
  };

  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;
  virtual ~Transport() = default;

  // Gives bytes of the stream, at most as many as fit. There may be more of them inside: they are
  // asked for until the transport waits. What has come is given although nothing can be written any
  // more, as after a reset. kEnded and kFailed are final: later calls say the same.
  virtual Result Read(std::span<char> into) = 0;

  // Takes bytes from the front of `from`, maybe not all. What it has taken is in the socket: when
  // there is room for a part of it only, it waits, and is called again with the same bytes in front
  // (elsewhere in memory, and maybe with more behind them).
  virtual Result Write(std::span<const char> from) = 0;

  // Tells the peer that its stream has ended, after the last Write. Reading goes on. Never followed
  // by shutdown(2), since a Read may still have to write.
  virtual Result Shutdown() = 0;
};

}  // namespace sluice::proxy
