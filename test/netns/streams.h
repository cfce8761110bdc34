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

// Bytes that are known at every position and differ between streams: what is lost, doubled or
// swapped does not match.
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
// Sends what goes without waiting of a pattern's bytes from `begin` to `end`; returns how far it
// has come.
std::size_t SendUntilFull(const Peer& peer, const Pattern& pattern, std::size_t begin,
                          std::size_t end);
// The number of bytes that arrived as they were sent; the stream must end with a FIN.
std::uint64_t ReceivePattern(Peer& peer, const Pattern& pattern);

// Many streams in one direction, all at once, driven by the calling thread. Each is a pattern of
// its own; sender and receiver are closed when all of it has arrived, and the FIN behind it.
class Transfers {
 public:
  explicit Transfers(std::uint64_t bytes_each);
  Transfers(const Transfers&) = delete;
  Transfers& operator=(const Transfers&) = delete;

  void Add(Peer sender, Peer receiver);

  // Goes on until something of each stream has arrived, and so many bytes in all of them together.
  // False when nothing has moved for kPatience.
  bool RunIntoTheMiddle(std::uint64_t bytes);
  // Until none is left; false as above.
  bool RunToTheEnd();

  // Bytes, in all streams together.
  std::uint64_t arrived() const { return arrived_; }
  // Streams of which something has arrived.
  std::size_t begun() const { return begun_; }
  // Streams that arrived whole, every byte right, and ended with a FIN.
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

  // One turn of the event loop; false when nothing has happened for kPatience.
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

// A connection that behaves well while others do not: in each round it sends a small ping and then
// a block, and gets both back from the server, byte by byte as they were sent. Runs on two threads
// of its own from the start.
class WellBehaved {
 public:
  WellBehaved(Peer client, Peer server);
  ~WellBehaved();
  WellBehaved(const WellBehaved&) = delete;
  WellBehaved& operator=(const WellBehaved&) = delete;

  // Waits for so many more rounds; false when they are not made.
  bool MakesRounds(std::uint64_t count);
  // How long the pings took since the last call.
  Latencies TakeLatencies();
  // Bytes that came back right.
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
