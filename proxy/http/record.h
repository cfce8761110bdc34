// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::proxy {

// The most of a request's texts that is logged; sniff.h has the others. A request id is longer than
// a UUID, and than what others use.
inline constexpr std::size_t kMaxRequestId = 128;
// A chain of some proxies.
inline constexpr std::size_t kMaxForwardedFor = 256;

// A finished request, for the access log and the metrics. "" and 0 mean: not known.
struct HttpRecord {
  std::string method;
  std::string path;  // with the query; cut to the access log's limit
  std::string authority;
  std::string user_agent;
  std::string request_id;
  std::string forwarded_for;
  std::string_view protocol;
  int status = 0;
  bool is_grpc = false;
  int grpc_status = -1;             // 0 is OK; -1: there was none
  std::uint64_t request_bytes = 0;  // of the body, without chunk sizes
  std::uint64_t response_bytes = 0;
  std::int64_t start_unix_ms = 0;
  std::chrono::nanoseconds duration{0};
  std::int64_t service_ms = -1;  // until the head of the response; -1: there was none
  std::string_view flags;        // Envoy's response flags: "UC"
  std::string_view details;      // "via_upstream"
};

}  // namespace sluice::proxy
