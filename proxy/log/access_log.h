// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/socket_address.h"
#include "proxy/config.h"

namespace sluice::proxy {

// A finished connection, or a finished request; the views are only read by AppendAccessLogLine.
// Empty texts, and addresses with port 0, are written as "-".
struct AccessRecord {
  Direction direction = Direction::kOutbound;
  // When it was accepted, in milliseconds since 1970 UTC.
  std::int64_t start_unix_ms = 0;
  std::chrono::milliseconds duration{0};
  std::uint64_t bytes_received = 0;      // from the client
  std::uint64_t bytes_sent = 0;          // to the client
  SocketAddress downstream_remote = {};  // the client
  SocketAddress downstream_local = {};   // where the client was going
  SocketAddress upstream_host = {};      // the address that we connected to
  SocketAddress upstream_local = {};     // our own address there
  bool refused = false;                  // refused without connecting: upstream_cluster says so
  std::string_view response_flags = {};  // "UF,URX", "UO", "NR", "DT"
  std::string_view termination_details = {};
  std::string_view transport_failure = {};  // of the upstream side
  // Written only where they are not empty: a line of a plain connection is as it was.
  std::string_view downstream_transport_failure = {};
  std::string_view downstream_peer_uri_san = {};
  std::string_view upstream_peer_uri_san = {};
  std::string_view tls_version = {};
  // What was recognised in the first bytes.
  std::string_view requested_server_name = {};
  std::string_view method = {};
  std::string_view path = {};
  std::string_view protocol = {};
  std::string_view authority = {};
  std::string_view user_agent = {};
  int response_code = 0;
  // One request of several on a connection: these are written then. An empty upstream_cluster is
  // the one of the direction.
  bool is_request = false;
  std::string_view upstream_cluster = {};
  std::string_view request_id = {};
  std::string_view upstream_service_time = {};
  std::string_view forwarded_for = {};
  std::string_view response_code_details = {};
  int grpc_status = -1;  // written unless it is negative
};

// Appends one JSON object and a newline, with Envoy's field names as Istio configures them. Bytes
// from the network are escaped; invalid UTF-8 becomes U+FFFD.
void AppendAccessLogLine(const AccessRecord& record, std::string& out);

}  // namespace sluice::proxy
