// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/ip_address.h"
#include "base/pod_contract.h"
#include "proxy/http/http_config.h"
#include "proxy/mtls/mtls_config.h"

namespace sluice::proxy {

// The direction of a captured connection, seen from the application.
enum class Direction : std::uint8_t { kOutbound, kInbound };

// "outbound" or "inbound".
constexpr std::string_view Name(Direction direction) {
  return direction == Direction::kOutbound ? "outbound" : "inbound";
}

// How inbound connections reach the proxy.
enum class InboundMode : std::uint8_t {
  kRedirect,  // by the nat table; the application sees 127.0.0.6 or ::6
  kTproxy,    // by TPROXY; the application sees the client's own address. Needs CAP_NET_ADMIN
};

// Which bytes splice(2) moves, instead of copying them through the proxy's memory.
enum class Splicing : std::uint8_t {
  kAuto,  // of streams that keep the buffer full: see Flow
  kOn,    // all that need not be looked at
  kOff,   // none: for measurements, and for kernels with a broken splice
};

// Whether a worker polls for the next message of a connection: see BusyPoll.
enum class BusyPolling : std::uint8_t {
  kAuto,  // unless a cgroup limits CPU time
  kOn,
  kOff,
};

// "auto", "on" or "off", for enumerations with these values.
template <typename Value>
requires requires {
  Value::kAuto;
  Value::kOn;
  Value::kOff;
}
constexpr std::string_view Name(Value value) {
  return value == Value::kAuto ? "auto" : value == Value::kOn ? "on" : "off";
}

// The proxy's configuration. A plain value; cmd/sluice-proxy validates user input.
struct ProxyConfig {
  std::uint16_t outbound_port = pod::kOutboundPort;
  std::uint16_t inbound_port = pod::kInboundPort;
  // Worker threads, at least 1.
  int concurrency = 1;
  InboundMode inbound_mode = InboundMode::kRedirect;
  // The mark for packets of connections to the application in TPROXY mode, as in the rules.
  std::uint32_t tproxy_mark = pod::kTproxyMark;
  // Sends the client's address to the application in a PROXY protocol v2 header.
  bool inbound_proxy_protocol = false;
  // Detects the protocol from the first bytes, for the access log.
  bool sniff = true;
  Splicing splicing = Splicing::kAuto;
  BusyPolling busy_polling = BusyPolling::kAuto;
  // Sends inbound connections here instead of to the original address; the port is kept.
  std::optional<IpAddress> inbound_upstream;
  std::chrono::milliseconds connect_timeout = std::chrono::seconds(10);
  // A connection without a byte in either direction for this long is closed.
  std::chrono::milliseconds idle_timeout = std::chrono::hours(1);
  // The same after one side has ended; idle_timeout if unset, as in Envoy and HAProxy.
  std::optional<std::chrono::milliseconds> half_closed_timeout;
  // 0: as many as the descriptor and memory limits allow.
  std::uint32_t max_connections = 0;
  // "-" is standard output, empty is none.
  std::string access_log = "-";
  // Ports of the control path; 0 switches the server off.
  std::uint16_t status_port = pod::kStatusPort;
  std::uint16_t metrics_port = pod::kMetricsPort;
  // On loopback only; see admin.h for the requests it serves.
  std::uint16_t admin_port = pod::kAdminPort;
  // The bearer token that clients of the admin port must send; empty: none.
  std::string admin_token;
  // The SVG of the rules that the admin port's page shows; empty: none. See rules_picture.h.
  std::string rules_graph;
  // The version shown by /stats: "0.1.0", and the commit it was built from, if known.
  std::string version;
  std::string commit;
  // If not 0, answers captured DNS queries on this port.
  std::uint16_t dns_port = 0;
  MtlsConfig mtls = {};
  HttpConfig http = {};
};

}  // namespace sluice::proxy
