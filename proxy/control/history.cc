// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/control/history.h"

#include <algorithm>

namespace sluice::proxy {

DirectionTotals& DirectionTotals::operator+=(const DirectionTotals& other) {
  opened += other.opened;
  active += other.active;
  failed += other.failed;
  received_bytes += other.received_bytes;
  sent_bytes += other.sent_bytes;
  return *this;
}

DirectionTotals Totals(const WorkerStats& stats, Direction direction) {
  const DirectionStats& from = stats.of(direction);
  DirectionTotals out;
  out.active = from.sockets_open.Get();
  for (const Security security : kSecurities) {
    const TcpCounters& counters = from.of(security);
    out.opened += counters.opened.Get();
    out.received_bytes += counters.received_bytes.Get();
    out.sent_bytes += counters.sent_bytes.Get();
  }
  for (std::size_t i = 0; i < from.failures.size(); ++i) {
    if (static_cast<Failure>(i) != Failure::kClientReset) out.failed += from.failures[i].Get();
  }
  return out;
}

DirectionTotals Totals(const Stats& stats, Direction direction) {
  DirectionTotals out;
  for (const WorkerStats& worker : stats.workers()) out += Totals(worker, direction);
  return out;
}

namespace {

std::array<DirectionTotals, 2> BothTotals(const WorkerStats& stats) {
  return {Totals(stats, static_cast<Direction>(0)), Totals(stats, static_cast<Direction>(1))};
}

}  // namespace

History::History(int workers, Clock::time_point start)
    : start_(start), count_(static_cast<std::size_t>(workers)), parts_(new Part[count_]) {}

std::uint64_t History::DueAt(Clock::time_point now) const {
  return now < start_ ? 0 : static_cast<std::uint64_t>((now - start_) / kInterval) + 1;
}

History::Clock::time_point History::Note(int worker, const WorkerStats& stats,
                                         Clock::time_point now) {
  Part& part = parts_[static_cast<std::size_t>(worker)];
  const std::uint64_t due = DueAt(now);
  const Totals totals = BothTotals(stats);
  const std::scoped_lock lock(part.mutex);
  const std::uint64_t size = part.samples.size();
  for (std::uint64_t i = std::max(part.noted, due - std::min(due, size)); i < due; ++i) {
    part.samples[i % size] = totals;
  }
  part.noted = std::max(part.noted, due);
  return start_ + due * kInterval;
}

std::vector<History::Sample> History::Samples(const Stats& stats, Clock::time_point now) const {
  const std::uint64_t due = DueAt(now);
  const std::uint64_t first = due - std::min<std::uint64_t>(due, kMaxSamples);
  std::vector<Sample> out;
  for (std::uint64_t i = first; i < due; ++i) {
    out.push_back({.when = start_ + i * kInterval, .directions = {}});
  }
  for (std::size_t worker = 0; worker < count_; ++worker) {
    const Part& part = parts_[worker];
    const std::scoped_lock lock(part.mutex);
    // For samples that the worker has slept through.
    const Totals totals = BothTotals(stats.workers()[worker]);
    for (std::uint64_t i = first; i < due; ++i) {
      const Totals& then = i < part.noted ? part.samples[i % part.samples.size()] : totals;
      Sample& sum = out[i - first];
      for (std::size_t k = 0; k < then.size(); ++k) sum.directions[k] += then[k];
    }
  }
  return out;
}

std::vector<double> Rates(std::span<const History::Sample> samples, Direction direction,
                          std::uint64_t DirectionTotals::*total) {
  std::vector<double> out;
  for (std::size_t i = 1; i < samples.size(); ++i) {
    const std::chrono::duration<double> between = samples[i].when - samples[i - 1].when;
    const std::uint64_t before = samples[i - 1].of(direction).*total;
    const std::uint64_t after = samples[i].of(direction).*total;
    // Bytes of a connection are counted when it moves them, so totals never shrink.
    out.push_back(static_cast<double>(after - before) / between.count());
  }
  return out;
}

}  // namespace sluice::proxy
