// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "proxy/config.h"

namespace sluice::proxy {

// Why a connection was not relayed, or not to its end.
enum class Failure : std::uint8_t {
  kNotRedirected,
  kLoop,
  kConnectionLimit,
  kClientLimit,
  kPendingLimit,
  kNoDescriptor,  // or no memory
  kNoSourceAddress,
  kConnectRefused,
  kConnectTimeout,
  kConnectUnreachable,
  kConnectOther,
  kTlsHandshake,  // of mutual TLS, or the peer may not come in, or is not who it should be
  kTlsTimeout,
  kClientReset,
  kUpstreamReset,
  kIdleTimeout,
  kDrainTimeout,
  kCount,
};
// The value of the label `reason`: "connect_refused".
std::string_view Name(Failure failure);

// A number written by one thread and read by any. Needs no locked instruction: an increment is as
// cheap as on a plain integer.
class Counter {
 public:
  void Add(std::uint64_t n) { value_.store(Get() + n, std::memory_order_relaxed); }
  void Subtract(std::uint64_t n) { value_.store(Get() - n, std::memory_order_relaxed); }
  std::uint64_t Get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

// How often values were seen, by the upper bounds in the array `kBounds`; the last bucket has none.
template <const auto& kBounds>
struct Histogram {
  static constexpr const auto& kUpperBounds = kBounds;

  std::array<Counter, kBounds.size() + 1> buckets;
  Counter sum;

  void Observe(std::uint64_t value) {
    const auto bound = std::ranges::lower_bound(kBounds, value);
    buckets[static_cast<std::size_t>(bound - kBounds.begin())].Add(1);
    sum.Add(value);
  }
};

// Upper bounds of the connect-time histogram, in microseconds: from a loopback
// connect to the default connect timeout.
inline constexpr std::array<std::uint64_t, 14> kConnectTimeBoundsMicros = {
    100,    250,    500,     1'000,   2'500,     5'000,     10'000,
    25'000, 50'000, 100'000, 250'000, 1'000'000, 3'000'000, 10'000'000};

// Upper bounds of the connection duration histogram, in microseconds: from a short request to the
// time after which most idle ones are closed.
inline constexpr std::array<std::uint64_t, 12> kDurationBoundsMicros = {
    1'000,     5'000,      25'000,      100'000,     500'000,       1'000'000,
    5'000'000, 30'000'000, 120'000'000, 600'000'000, 3'600'000'000, 14'400'000'000};

// What protects a connection, as Istio's label connection_security_policy has it.
enum class Security : std::uint8_t {
  kNone,
  kMutualTls,
  kUnknown,  // it has ended before that was known
};
// "none", "mutual_tls", "unknown".
std::string_view Name(Security security);
inline constexpr Security kSecurities[] = {Security::kNone, Security::kMutualTls,
                                           Security::kUnknown};

struct TcpCounters {
  Counter opened;  // accepted and allowed to connect
  Counter closed;
  Counter received_bytes;  // from the client
  Counter sent_bytes;      // to the client
};

// Upper bounds of Envoy's histograms, which Istio's have: of a request's time in milliseconds, and
// of the bytes of bodies.
inline constexpr std::array<std::uint64_t, 19> kHttpBounds = {
    1,     5,      10,     25,     50,      100,     250,       500,       1'000,     2'500,
    5'000, 10'000, 30'000, 60'000, 300'000, 600'000, 1'800'000, 3'600'000, 10'000'000};

// Of requests. Codes are those of status lines, and 0 for no answer, so that their number is
// bounded; so are those of gRPC.
struct HttpStats {
  static constexpr std::size_t kCodes = 501;
  static constexpr int kFirstCode = 100;
  static constexpr std::size_t IndexOf(int code) {
    return code < kFirstCode || code > 599 ? 0 : static_cast<std::size_t>(code - kFirstCode) + 1;
  }
  static constexpr int CodeOf(std::size_t index) {
    return index == 0 ? 0 : static_cast<int>(index) - 1 + kFirstCode;
  }
  // 0 (OK) to 16 (UNAUTHENTICATED), and any other or none.
  static constexpr std::size_t kGrpcCodes = 18;

  // `secured`: 1 with mutual TLS, else 0. grpc_status -1: none.
  void CountRequest(std::size_t secured, int status, bool is_grpc, int grpc_status);

  // By what protects the connection: nothing, mutual TLS.
  std::array<std::array<Counter, kCodes>, 2> requests;       // but those of gRPC
  std::array<std::array<Counter, kCodes>, 2> grpc_requests;  // with a status other than 200
  std::array<std::array<Counter, kGrpcCodes>, 2> grpc_answers;
  Histogram<kHttpBounds> durations;  // milliseconds
  Histogram<kHttpBounds> request_bytes;
  Histogram<kHttpBounds> response_bytes;
  Counter http2;    // connections
  Counter tunnels;  // requests that ended in one
};

// The counters of plain connections are its own.
struct DirectionStats : TcpCounters {
  std::array<TcpCounters, 2> secured;
  // Plain ones of which it was asked whether they are mutual TLS.
  Counter permitted_plaintext;
  Counter sockets_open;  // sessions with open descriptors
  Counter pending;       // sessions that are being set up
  std::array<Counter, static_cast<std::size_t>(Failure::kCount)> failures;
  Histogram<kConnectTimeBoundsMicros> connect_times;  // microseconds
  Histogram<kDurationBoundsMicros> durations;         // microseconds
  std::unique_ptr<HttpStats> http;                    // null: HTTP is not looked for

  void Count(Failure failure) { failures[static_cast<std::size_t>(failure)].Add(1); }
  void CountConnect(std::chrono::nanoseconds took);
  // Counts a finished connection, and its duration.
  void CountClosed(Security security, std::chrono::nanoseconds lasted);
  TcpCounters& of(Security security) {
    return security == Security::kNone ? *this : secured[static_cast<std::size_t>(security) - 1];
  }
  const TcpCounters& of(Security security) const {
    return security == Security::kNone ? *this : secured[static_cast<std::size_t>(security) - 1];
  }
};

// The counters of one worker, on its own cache lines.
struct alignas(64) WorkerStats {
  std::array<DirectionStats, 2> directions;
  Counter accept_pauses;

  DirectionStats& of(Direction direction) {
    return directions[static_cast<std::size_t>(direction)];
  }
  const DirectionStats& of(Direction direction) const {
    return directions[static_cast<std::size_t>(direction)];
  }
};

// All workers' counters. Reading is thread-safe; a sum is not a snapshot.
class Stats {
 public:
  explicit Stats(int workers, bool with_http = false);
  WorkerStats& worker(int index) { return workers_[static_cast<std::size_t>(index)]; }

  // Connections that are being relayed or set up.
  std::uint64_t Active() const;
  std::uint64_t Active(Direction direction) const;
  // Connections that are being set up.
  std::uint64_t Pending(Direction direction) const;
  std::uint64_t Pending() const;
  std::span<const WorkerStats> workers() const { return {workers_.get(), count_}; }

 private:
  std::size_t count_;
  std::unique_ptr<WorkerStats[]> workers_;
};

}  // namespace sluice::proxy
