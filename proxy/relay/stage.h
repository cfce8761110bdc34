// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>

namespace sluice::proxy {

// Sees the bytes of one direction before they are sent, and may hold, replace or insert some: for
// HTTP, which rewrites heads and lets bodies pass. Functions throw nothing but std::bad_alloc,
// which breaks the connection like an error. Must bound what it holds. Used by one thread at a
// time, the session's.
class Stage {
 public:
  // Everything that is still to come.
  static constexpr std::uint64_t kTheRest = std::numeric_limits<std::uint64_t>::max();

  struct Answer {
    // Bytes that the stage takes over, from the front of what it was shown. At least one, unless
    // `passes` is set.
    std::size_t taken = 0;
    // This many bytes after them are sent unchanged, without being shown. After kTheRest the stage
    // is deleted, and two plain ends may be spliced.
    std::uint64_t passes = 0;
    // An errno that breaks the connection. Output appended in the same call is not sent.
    int error = 0;
  };

  Stage() = default;
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;
  virtual ~Stage() = default;

  // The next bytes of the stream, at least one. Appends to `out` what to send for the bytes that it
  // takes; it may also hold them and send them later.
  virtual Answer Put(std::span<const char> bytes, std::string& out) = 0;

  // The stream has ended while the stage held or awaited bytes; so many of what it last let pass
  // have not come. Appends what to send before the end. Returns 0 or an errno, as in Answer.
  virtual int End(std::uint64_t unpassed, std::string& out) = 0;

  // What the two directions of a connection owe each other; asked while no bytes pass. A stage that
  // waits is shown nothing, and nothing is read for it.
  virtual bool Waits() const { return false; }
  // There is something to do without more bytes: Resume does it.
  virtual bool HasWork() const { return false; }
  struct Resumed {
    std::uint64_t passes = 0;  // as in Answer
    int error = 0;             // as in Answer
    // The stream ends here, whatever the source still has: End is not called.
    bool ends = false;
  };
  virtual Resumed Resume(std::string& /*out*/) { return {}; }
};

}  // namespace sluice::proxy
