// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "proxy/stats.h"

namespace sluice::proxy {

// The counters of one direction at one moment.
struct DirectionTotals {
  std::uint64_t opened = 0;
  std::uint64_t active = 0;
  std::uint64_t failed = 0;          // for any reason except a reset by the client
  std::uint64_t received_bytes = 0;  // from clients
  std::uint64_t sent_bytes = 0;      // to clients

  DirectionTotals& operator+=(const DirectionTotals& other);
};

// The last ten minutes of the counters, for plots: samples at `start` and each kInterval from
// there. No timer takes them, which would wake up each idle proxy of a node: counters stand still
// between two turns of a worker, so that a worker which wakes up notes what all samples since its
// last turn have been. Thread-safe.
class History {
 public:
  using Clock = std::chrono::steady_clock;
  struct Sample {
    Clock::time_point when;
    std::array<DirectionTotals, 2> directions;  // by Direction; summed over workers

    const DirectionTotals& of(Direction direction) const {
      return directions[static_cast<std::size_t>(direction)];
    }
  };

  static constexpr std::chrono::seconds kInterval{10};
  static constexpr std::size_t kMaxSamples = 61;

  History(int workers, Clock::time_point start);

  // The worker has woken up at `now` and counted nothing since. Returns the time of the next
  // sample; there is nothing to do before it. For each worker on one thread.
  Clock::time_point Note(int worker, const WorkerStats& stats, Clock::time_point now);

  // The samples up to `now`, the oldest first; `stats` are those of the workers.
  std::vector<Sample> Samples(const Stats& stats, Clock::time_point now) const;

 private:
  using Totals = std::array<DirectionTotals, 2>;  // by Direction
  struct Part {
    mutable std::mutex mutex;
    std::uint64_t noted = 0;  // samples since the start
    // By number, wrapped around. One more than is read: a reader may have looked at the clock
    // before the newest was noted.
    std::array<Totals, kMaxSamples + 1> samples;
  };

  std::uint64_t DueAt(Clock::time_point now) const;

  const Clock::time_point start_;
  const std::size_t count_;
  const std::unique_ptr<Part[]> parts_;  // by worker
};

// What `total` grew by per second from each sample to the next.
std::vector<double> Rates(std::span<const History::Sample> samples, Direction direction,
                          std::uint64_t DirectionTotals::*total);

// The counters as they are now. Thread-safe.
DirectionTotals Totals(const WorkerStats& stats, Direction direction);
DirectionTotals Totals(const Stats& stats, Direction direction);

}  // namespace sluice::proxy
