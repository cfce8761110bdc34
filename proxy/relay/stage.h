// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>

namespace sluice::proxy {

// What sees the bytes of one direction before they are sent and may hold, replace or insert some:
// HTTP, which rewrites heads and lets bodies pass. No function throws but std::bad_alloc, which
// breaks the connection as an error does. Bounds by itself what it holds. Used by one thread at a
// time, that of the session.
class Stage {
 public:
  // All that is still to come.
  static constexpr std::uint64_t kTheRest = std::numeric_limits<std::uint64_t>::max();

  struct Answer {
    // Bytes from the front of what it was shown that are now the stage's. At least one, unless
    // some pass.
    std::size_t taken = 0;
    // So many bytes behind them are sent as they are, without being shown. After kTheRest the stage
    // is deleted, and two plain ends may be spliced.
    std::uint64_t passes = 0;
    // An errno that breaks the connection. What the same call has appended is not sent.
    int error = 0;
  };

  Stage() = default;
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;
  virtual ~Stage() = default;

  // The next bytes of the stream, at least one. Appends to `out` what is to be sent for those that
  // it takes; it may hold them instead, to send them later.
  virtual Answer Put(std::span<const char> bytes, std::string& out) = 0;

  // The stream has ended while the stage held bytes or waited for some. Appends what is to be sent
  // before the end. 0 or an errno, as in Answer.
  virtual int End(std::string& out) = 0;
};

}  // namespace sluice::proxy
