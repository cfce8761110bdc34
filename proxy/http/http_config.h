// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice::proxy {

// Whether to look for HTTP/1 in connections.
enum class HttpMode : std::uint8_t {
  kOff,   // no: all are relayed as they are
  kAuto,  // yes: those that begin with an HTTP/1 request are relayed request by request
};

// The largest head of a message, with the empty line: Envoy's default limit.
inline constexpr std::size_t kMaxHeadBytes = 60 * 1024;

// Groups of headers that the proxy writes. X-Forwarded-Client-Cert is in none: it is not
// optional.
enum class HttpHeaders : std::uint8_t {
  kRequestId = 1,       // x-request-id
  kTracing = 2,         // x-b3-traceid, -spanid, -parentspanid, -sampled
  kForwardedProto = 4,  // x-forwarded-proto
  kAttemptCount = 8,    // x-envoy-attempt-count
  kServer = 16,         // server
  kServiceTime = 32,    // x-envoy-upstream-service-time
};

// A set of these groups.
class HttpHeaderSet {
 public:
  static constexpr HttpHeaderSet All() { return HttpHeaderSet(63); }
  constexpr HttpHeaderSet() = default;

  constexpr bool has(HttpHeaders group) const {
    return (bits_ & static_cast<std::uint8_t>(group)) != 0;
  }
  constexpr void Add(HttpHeaders group) {
    bits_ = static_cast<std::uint8_t>(bits_ | static_cast<std::uint8_t>(group));
  }
  friend constexpr bool operator==(HttpHeaderSet, HttpHeaderSet) = default;

 private:
  constexpr explicit HttpHeaderSet(std::uint8_t bits) : bits_(bits) {}

  std::uint8_t bits_ = 0;
};

// Their names on the command line.
struct HttpHeaderName {
  HttpHeaders group;
  std::string_view name;
};
inline constexpr HttpHeaderName kHttpHeaderNames[] = {
    {HttpHeaders::kRequestId, "request-id"},
    {HttpHeaders::kTracing, "tracing"},
    {HttpHeaders::kForwardedProto, "forwarded-proto"},
    {HttpHeaders::kAttemptCount, "attempt-count"},
    {HttpHeaders::kServer, "server"},
    {HttpHeaders::kServiceTime, "service-time"},
};

// How to relay HTTP.
struct HttpConfig {
  HttpMode mode = HttpMode::kOff;
  HttpHeaderSet headers = HttpHeaderSet::All();

  bool enabled() const { return mode != HttpMode::kOff; }
};

}  // namespace sluice::proxy
