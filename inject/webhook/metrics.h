// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "inject/webhook/admission.h"

namespace sluice::inject::webhook {

// The webhook's counters. For use by one thread.
class Metrics {
 public:
  void CountReview(Answer::Kind kind, std::chrono::nanoseconds took);
  void CountStatus(unsigned status) { ++statuses_[status / 100 % kStatuses]; }

  std::uint64_t connections_total = 0;
  std::uint64_t connections_refused_total = 0;  // too many, or no TLS handshake
  std::size_t connections = 0;                  // now
  std::size_t body_memory_bytes = 0;            // now, of large ones
  std::uint64_t bodies_refused_total = 0;       // for lack of memory
  std::uint64_t reloads_total = 0;
  std::uint64_t failed_reloads_total = 0;
  std::chrono::sys_seconds certificate_expiry = {};

  // The text format of Prometheus, version 0.0.4.
  std::string Text() const;

 private:
  static constexpr std::size_t kKinds = 5;
  static constexpr std::size_t kStatuses = 10;
  // From a small pod to one at the body limit.
  static constexpr std::array<double, 8> kBounds = {0.0001, 0.00025, 0.0005, 0.001,
                                                    0.0025, 0.01,    0.1,    1};

  std::array<std::uint64_t, kKinds> reviews_ = {};
  std::array<std::uint64_t, kStatuses> statuses_ = {};
  std::array<std::uint64_t, kBounds.size() + 1> buckets_ = {};
  double seconds_ = 0;
};

}  // namespace sluice::inject::webhook
