// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/stats.h"

#include <algorithm>

namespace sluice::proxy {

std::string_view Name(Failure failure) {
  switch (failure) {
    case Failure::kNotRedirected:
      return "not_redirected";
    case Failure::kLoop:
      return "loop";
    case Failure::kConnectionLimit:
      return "connection_limit";
    case Failure::kClientLimit:
      return "client_limit";
    case Failure::kPendingLimit:
      return "pending_limit";
    case Failure::kNoDescriptor:
      return "no_descriptor";
    case Failure::kNoSourceAddress:
      return "no_source_address";
    case Failure::kConnectRefused:
      return "connect_refused";
    case Failure::kConnectTimeout:
      return "connect_timeout";
    case Failure::kConnectUnreachable:
      return "connect_unreachable";
    case Failure::kConnectOther:
      return "connect_other";
    case Failure::kTlsHandshake:
      return "tls_handshake";
    case Failure::kTlsTimeout:
      return "tls_handshake_timeout";
    case Failure::kClientReset:
      return "downstream_reset";
    case Failure::kUpstreamReset:
      return "upstream_reset";
    case Failure::kIdleTimeout:
      return "idle_timeout";
    case Failure::kDrainTimeout:
      return "drain_timeout";
    case Failure::kCount:
      break;
  }
  return "unknown";
}

std::string_view Name(Security security) {
  switch (security) {
    case Security::kNone:
      return "none";
    case Security::kMutualTls:
      return "mutual_tls";
    case Security::kUnknown:
      break;
  }
  return "unknown";
}

namespace {

std::uint64_t Micros(std::chrono::nanoseconds time) {
  return static_cast<std::uint64_t>(time.count()) / 1000;
}

}  // namespace

void DirectionStats::CountConnect(std::chrono::nanoseconds took) {
  connect_times.Observe(Micros(took));
}

void DirectionStats::CountClosed(Security security, std::chrono::nanoseconds lasted) {
  of(security).closed.Add(1);
  durations.Observe(Micros(lasted));
}

Stats::Stats(int workers, bool with_http)
    : count_(static_cast<std::size_t>(workers)), workers_(new WorkerStats[count_]) {
  if (!with_http) return;
  for (std::size_t i = 0; i < count_; ++i) {
    for (DirectionStats& direction : workers_[i].directions) {
      direction.http = std::make_unique<HttpStats>();
    }
  }
}

std::uint64_t Stats::Active() const {
  return Active(Direction::kOutbound) + Active(Direction::kInbound);
}

std::uint64_t Stats::Active(Direction direction) const {
  std::uint64_t sum = 0;
  for (const WorkerStats& worker : workers()) sum += worker.of(direction).sockets_open.Get();
  return sum;
}

std::uint64_t Stats::Pending() const {
  return Pending(Direction::kOutbound) + Pending(Direction::kInbound);
}

std::uint64_t Stats::Pending(Direction direction) const {
  std::uint64_t sum = 0;
  for (const WorkerStats& worker : workers()) sum += worker.of(direction).pending.Get();
  return sum;
}

void HttpStats::CountRequest(std::size_t secured, int status, bool is_grpc, int grpc_status) {
  const std::size_t last = kGrpcCodes - 1;
  const bool is_known = grpc_status >= 0 && static_cast<std::size_t>(grpc_status) < last;
  if (!is_grpc) {
    requests[secured][IndexOf(status)].Add(1);
  } else if (status != 200) {
    grpc_requests[secured][IndexOf(status)].Add(1);
  } else {
    grpc_answers[secured][is_known ? static_cast<std::size_t>(grpc_status) : last].Add(1);
  }
}

}  // namespace sluice::proxy
