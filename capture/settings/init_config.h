// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/cidr.h"
#include "base/pod_contract.h"
#include "base/port_range.h"
#include "capture/capture_config.h"
#include "capture/settings/settings.h"

namespace sluice::capture {

// Which backend writes the rules.
enum class BackendChoice { kAuto, kIptables, kNftables };
enum class Ipv6Mode { kAuto, kOn, kOff };
enum class LogFormat { kText, kJson };
// What a run logs: each level includes the previous ones.
enum class LogLevel { kNone, kError, kWarning, kInfo };

// The connection for `explain`, as typed: empty if not given.
struct ExplainText {
  std::string to = {};
  std::string from = {};
  std::string from_uid = {};
  std::string from_gid = {};
  std::string in_interface = {};
  std::string proto = {};
  std::string mark = {};
  std::string ctstate = {};
};

// Which connections `trace` shows, and how long. Empty lists are for all.
struct TraceConfig {
  std::optional<std::chrono::milliseconds> duration = {};
  std::uint64_t count = 0;  // 0: no limit
  std::vector<std::uint32_t> uids = {};
  std::vector<PortRange> ports = {};  // of the destination
  std::vector<Cidr> ranges = {};      // of either end
};

// For the command graph.
enum class GraphFormat : std::uint8_t { kMermaid, kDot, kSvg };
struct GraphConfig {
  GraphFormat format = GraphFormat::kMermaid;
  std::string file = {};  // empty: standard output
  // Draws again after this, until a signal; once if unset.
  std::optional<std::chrono::milliseconds> every = {};
};

// Everything that a run needs to know, validated. Without facts about the host (its addresses, its
// resolvers): FillFromHost fills in capture.ipv6 and capture.dns_servers.
struct InitConfig {
  CaptureConfig capture;
  BackendChoice backend = BackendChoice::kAuto;
  std::string backend_origin;  // "--backend"; empty for kAuto
  Ipv6Mode ipv6 = Ipv6Mode::kAuto;
  std::chrono::milliseconds lock_wait{30'000};
  LogFormat log_format = LogFormat::kText;
  LogLevel log_level = LogLevel::kInfo;
  bool json_output = false;
  GraphConfig graph;
  bool only_nonzero = false;      // of show: rules whose counter is not zero
  std::string network_namespace;  // empty: the current one
  std::chrono::milliseconds probe_timeout{5'000};
  std::uint16_t probe_port = pod::kProbePort;
  bool dry_run = false;
  bool cleanup_only = false;
  bool force_apply = false;
  bool skip_rule_apply = false;
  bool run_validation = false;
  bool rollback_on_failed_validation = false;
  ExplainText explain;
  TraceConfig trace;
  bool planned = false;
  std::string batch;  // a path, "-", or empty
  std::vector<std::string> warnings;
  std::vector<std::string> notes;  // less severe than warnings
};

// Throws Error(kUsage) naming the flag, the value and what is expected. Reads only /etc/passwd and
// /etc/group, where names are given.
InitConfig ToInitConfig(const Settings& settings);

// Parses istio-iptables' --log_output_level, such as "info", "default:warn" or
// "default:info,ads:debug": the level of the scope `default`, else of `all`. Throws
// std::invalid_argument.
LogLevel ParseLogLevel(std::string_view text);

}  // namespace sluice::capture
