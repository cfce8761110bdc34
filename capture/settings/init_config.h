#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/pod_contract.h"
#include "capture/capture_config.h"
#include "capture/settings/settings.h"

namespace sluice::capture {

enum class Ipv6Mode { kAuto, kOn, kOff };
enum class LogFormat { kText, kJson };

// Everything that a run needs to know, validated. What the host says (its addresses, its resolvers)
// is not in it yet: capture.ipv6 and capture.dns_servers are filled by FillFromHost.
struct InitConfig {
  CaptureConfig capture;
  Ipv6Mode ipv6 = Ipv6Mode::kAuto;
  std::chrono::milliseconds lock_wait{30'000};
  LogFormat log_format = LogFormat::kText;
  bool json_output = false;
  std::string network_namespace;  // empty: the one we are in
  std::chrono::milliseconds probe_timeout{5'000};
  std::uint16_t probe_port = pod::kProbePort;
  bool dry_run = false;
  bool cleanup_only = false;
  bool force_apply = false;
  bool skip_rule_apply = false;
  bool run_validation = false;
  bool rollback_on_failed_validation = false;
  std::vector<std::string> warnings;
};

// Throws Error(kUsage) naming the flag, the value and what would be right. Reads /etc/passwd and
// /etc/group where names are given, nothing else.
InitConfig ToInitConfig(const Settings& settings);

}  // namespace sluice::capture
