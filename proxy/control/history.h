// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "proxy/stats.h"

namespace sluice::proxy {

// The counters of one direction at one moment, summed over workers.
struct DirectionTotals {
  std::uint64_t opened = 0;
  std::uint64_t active = 0;
  std::uint64_t failed = 0;          // for any reason except a reset by the client
  std::uint64_t received_bytes = 0;  // from clients
  std::uint64_t sent_bytes = 0;      // to clients
};

// The last ten minutes of the counters, for plots. Not thread-safe.
class History {
 public:
  using Clock = std::chrono::steady_clock;
  struct Sample {
    Clock::time_point when;
    std::array<DirectionTotals, 2> directions;  // by Direction

    const DirectionTotals& of(Direction direction) const {
      return directions[static_cast<std::size_t>(direction)];
    }
  };

  // How often to call Add. Seldom enough to cost nothing in a pod that is idle.
  static constexpr std::chrono::seconds kInterval{10};
  static constexpr std::size_t kMaxSamples = 61;

  void Add(const Stats& stats, Clock::time_point now);

  const std::deque<Sample>& samples() const { return samples_; }  // the oldest first

  // What `total` grew by per second from each sample to the next.
  std::vector<double> Rates(Direction direction, std::uint64_t DirectionTotals::*total) const;

 private:
  std::deque<Sample> samples_;
};

// The counters as they are now. Thread-safe.
DirectionTotals Totals(const Stats& stats, Direction direction);

}  // namespace sluice::proxy
