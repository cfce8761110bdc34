// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/socket_address.h"
#include "proxy/config.h"

namespace sluice::proxy {

// An open connection, as the admin port shows it.
struct ConnectionInfo {
  Direction direction = Direction::kOutbound;
  std::string_view state;  // "handshaking", "connecting" or "relaying"
  SocketAddress downstream_remote;
  SocketAddress downstream_local;  // where the client was going
  SocketAddress upstream_host;
  std::int64_t start_unix_ms = 0;
  std::uint64_t bytes_received = 0;  // from the client
  std::uint64_t bytes_sent = 0;      // to the client
  // Of mutual TLS; empty otherwise.
  std::string peer_uri_san = {};
  std::string_view tls_version = {};
};

}  // namespace sluice::proxy
