// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "dns/forwarder.h"
#include "proxy/mtls/mutual_tls.h"
#include "proxy/stats.h"

namespace sluice::proxy {

// Facts that workers do not count.
struct ProxyFacts {
  std::string version = {};
  std::string commit = {};  // empty: unknown
  std::uint64_t access_log_dropped = 0;
  std::uint64_t max_connections = 0;
  bool draining = false;
  double start_unix_seconds = 0;
  std::optional<dns::DnsStats> dns = {};  // none without a forwarder
  std::optional<MutualTls::Facts> mtls = {};
};

// All counters in the Prometheus text format, with Istio's names where they exist
// (reporter="source" is the outbound side, "destination" the inbound one), otherwise `sluice_*`,
// and the usual `process_*`. Thread-safe.
std::string PrometheusText(const Stats& stats, const ProxyFacts& facts);

}  // namespace sluice::proxy
