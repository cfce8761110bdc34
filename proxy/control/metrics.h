// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "dns/forwarder.h"
#include "proxy/stats.h"

namespace sluice::proxy {

// All counters in the Prometheus text format, in Istio's names where Istio has one
// (reporter="source" is the outbound side, "destination" the inbound one), otherwise `sluice_*`.
// Without a forwarder there is nothing of DNS. Thread-safe.
std::string PrometheusText(const Stats& stats, std::uint64_t access_log_dropped,
                           const std::optional<dns::DnsStats>& dns);

}  // namespace sluice::proxy
