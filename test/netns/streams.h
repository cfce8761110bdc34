// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "test/netns/proxy_fixture.h"

// Streams whose bytes are compared, for tests of what the proxy must not lose.
namespace sluice::testing_support {

// Bytes that are known for every position and differ between streams: lost, repeated or swapped
// bytes do not match.
class Pattern {
 public:
  explicit Pattern(std::uint64_t seed) : seed_(seed) {}

  // The bytes from `position` on.
  void Fill(std::uint64_t position, char* out, std::size_t size) const;
  bool Matches(std::uint64_t position, std::string_view bytes) const;

 private:
  std::uint64_t Word(std::uint64_t index) const;

  std::uint64_t seed_;
};

// Sends the first `size` bytes of a pattern, then the end of the stream.
void SendPattern(Peer& peer, const Pattern& pattern, std::uint64_t size);
// Sends bytes `begin` to `end` of a pattern, as far as possible without waiting; returns the new
// position.
std::size_t SendUntilFull(const Peer& peer, const Pattern& pattern, std::size_t begin,
                          std::size_t end);
// The number of correct bytes received; the stream must end with a FIN.
std::uint64_t ReceivePattern(Peer& peer, const Pattern& pattern);

// Many concurrent streams in one direction, driven by the calling thread. Each has its own pattern;
// both ends are closed when all of it has arrived, and then the FIN.
class Transfers {
 public:
  explicit Transfers(std::uint64_t bytes_each);
  Transfers(const Transfers&) = delete;
  Transfers& operator=(const Transfers&) = delete;

  void Add(Peer sender, Peer receiver);

  // Runs until something of each stream has arrived, and this many bytes in total. False when
  // nothing has moved for kPatience.
  bool RunIntoTheMiddle(std::uint64_t bytes);
  // Until all have ended; false as above.
  bool RunToTheEnd();

  // Bytes, in total.
  std::uint64_t arrived() const { return arrived_; }
  // Streams of which something has arrived.
  std::size_t begun() const { return begun_; }
  // Streams that arrived complete and correct, and ended with a FIN.
  std::size_t complete() const { return complete_; }

 private:
  struct Stream {
    Peer sender;
    Peer receiver;
    Pattern pattern;
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    bool over = false;
  };

  // One turn of the event loop; false if nothing happens for kPatience.
  bool Turn();
  void SendSome(Stream& stream);
  void ReceiveSome(Stream& stream);
  void Retire(Stream& stream, bool complete);

  const std::uint64_t bytes_each_;
  UniqueFd epoll_;
  std::vector<Stream> streams_;
  std::vector<char> buffer_;
  std::uint64_t arrived_ = 0;
  std::size_t open_ = 0;
  std::size_t begun_ = 0;
  std::size_t complete_ = 0;
};

// Ping times, from the shortest to the longest.
class Latencies {
 public:
  explicit Latencies(std::vector<std::chrono::nanoseconds> times);
  // "p50 0.12 ms, p99 0.40 ms".
  std::string ToString() const;

 private:
  std::vector<std::chrono::nanoseconds> times_;
};

// A well-behaved connection while others are not: in each round it sends a small ping and then a
// block, and compares what the server echoes, byte by byte. Runs on two threads of its own from the
// start.
class WellBehaved {
 public:
  WellBehaved(Peer client, Peer server);
  ~WellBehaved();
  WellBehaved(const WellBehaved&) = delete;
  WellBehaved& operator=(const WellBehaved&) = delete;

  // Waits for this many more rounds; false if they do not happen.
  bool MakesRounds(std::uint64_t count);
  // The ping times since the last call.
  Latencies TakeLatencies();
  // Bytes that came back correctly.
  std::uint64_t bytes() const { return bytes_; }
  // Whether a byte was wrong or missing.
  bool failed() const { return failed_; }

 private:
  void Ask();
  // Sends the next `size` bytes of the pattern and compares what comes back.
  bool Exchange(std::size_t size);
  void Answer();

  Peer client_;
  Peer server_;
  const Pattern pattern_{20'240'101};
  std::vector<char> block_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> failed_{false};
  std::atomic<std::uint64_t> rounds_{0};
  std::atomic<std::uint64_t> bytes_{0};
  std::mutex mutex_;
  std::vector<std::chrono::nanoseconds> times_;
  std::thread asking_;
  std::thread answering_;
};

}  // namespace sluice::testing_support
