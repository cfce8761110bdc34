// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/control/history.h"

namespace sluice::proxy {

DirectionTotals Totals(const Stats& stats, Direction direction) {
  DirectionTotals out;
  out.active = stats.Active(direction);
  for (const WorkerStats& worker : stats.workers()) {
    const DirectionStats& from = worker.of(direction);
    for (const Security security : kSecurities) {
      const TcpCounters& counters = from.of(security);
      out.opened += counters.opened.Get();
      out.received_bytes += counters.received_bytes.Get();
      out.sent_bytes += counters.sent_bytes.Get();
    }
    for (std::size_t i = 0; i < from.failures.size(); ++i) {
      if (static_cast<Failure>(i) != Failure::kClientReset) out.failed += from.failures[i].Get();
    }
  }
  return out;
}

void History::Add(const Stats& stats, Clock::time_point now) {
  if (samples_.size() == kMaxSamples) samples_.pop_front();
  samples_.push_back({.when = now,
                      .directions = {Totals(stats, static_cast<Direction>(0)),
                                     Totals(stats, static_cast<Direction>(1))}});
}

std::vector<double> History::Rates(Direction direction,
                                   std::uint64_t DirectionTotals::*total) const {
  std::vector<double> out;
  for (std::size_t i = 1; i < samples_.size(); ++i) {
    const std::chrono::duration<double> between = samples_[i].when - samples_[i - 1].when;
    const std::uint64_t before = samples_[i - 1].of(direction).*total;
    const std::uint64_t after = samples_[i].of(direction).*total;
    // Bytes of a connection are counted when it moves them, so totals never shrink.
    out.push_back(between.count() > 0 ? static_cast<double>(after - before) / between.count() : 0);
  }
  return out;
}

}  // namespace sluice::proxy
