// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/ip_address.h"
#include "base/pod_contract.h"
#include "proxy/mtls/mtls_config.h"

namespace sluice::proxy {

// Which way a captured connection goes, seen from the application.
enum class Direction : std::uint8_t { kOutbound, kInbound };

// "outbound" or "inbound".
constexpr std::string_view Name(Direction direction) {
  return direction == Direction::kOutbound ? "outbound" : "inbound";
}

// How inbound connections come to the proxy.
enum class InboundMode : std::uint8_t {
  kRedirect,  // by the nat table; the application sees 127.0.0.6 or ::6
  kTproxy,    // by TPROXY; the application sees the client's own address. Needs CAP_NET_ADMIN
};

// Which bytes are moved by splice(2) instead of being copied through the proxy's memory.
enum class Splicing : std::uint8_t {
  kAuto,  // those of a stream that keeps the buffer full: see Flow
  kOn,    // all that nobody wants to look at
  kOff,   // none: for measurements, and kernels whose splice is broken
};

// Whether a worker waits awake for the next message of a connection: see BusyPoll.
enum class BusyPolling : std::uint8_t {
  kAuto,  // unless a cgroup rations CPU time
  kOn,
  kOff,
};

// "auto", "on" or "off", for enumerations that have these values.
template <typename Value>
requires requires {
  Value::kAuto;
  Value::kOn;
  Value::kOff;
}
constexpr std::string_view Name(Value value) {
  return value == Value::kAuto ? "auto" : value == Value::kOn ? "on" : "off";
}

// What the proxy is to do. A plain value; cmd/sluice-proxy validates what users type.
struct ProxyConfig {
  std::uint16_t outbound_port = pod::kOutboundPort;
  std::uint16_t inbound_port = pod::kInboundPort;
  // Worker threads, at least 1.
  int concurrency = 1;
  InboundMode inbound_mode = InboundMode::kRedirect;
  // Marks the packets of connections to the application in TPROXY mode, as the rules do.
  std::uint32_t tproxy_mark = pod::kTproxyMark;
  // Tells the application the client's address by a PROXY protocol v2 header.
  bool inbound_proxy_protocol = false;
  // Reads what is being spoken off the first bytes, for the access log.
  bool sniff = true;
  Splicing splicing = Splicing::kAuto;
  BusyPolling busy_polling = BusyPolling::kAuto;
  // Where inbound connections go instead of to their original address; the port is kept.
  std::optional<IpAddress> inbound_upstream;
  std::chrono::milliseconds connect_timeout = std::chrono::seconds(10);
  // Without a byte in either direction for this long, a connection is closed.
  std::chrono::milliseconds idle_timeout = std::chrono::hours(1);
  // The same once one side has ended; as idle_timeout when unset, like Envoy and HAProxy.
  std::optional<std::chrono::milliseconds> half_closed_timeout;
  // 0: as many as the limits of descriptors and of memory allow.
  std::uint32_t max_connections = 0;
  // "-" is standard output, empty is none.
  std::string access_log = "-";
  // Ports of the control path; 0 switches the server off.
  std::uint16_t status_port = pod::kStatusPort;
  std::uint16_t metrics_port = pod::kMetricsPort;
  // On loopback only; what a client may ask there is in admin.h.
  std::uint16_t admin_port = pod::kAdminPort;
  // What clients of the admin port have to show as a bearer token; empty: nothing.
  std::string admin_token;
  // What /stats says of the program: "0.1.0", and the commit it was built from, when known.
  std::string version;
  std::string commit;
  // Answers captured DNS queries when it is not 0.
  std::uint16_t dns_port = 0;
  MtlsConfig mtls = {};
};

}  // namespace sluice::proxy
