// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "capture/capture_config.h"
#include "capture/pod/annotations.h"
#include "inject/settings.h"

namespace sluice::inject {

// How a pod's sluice-init is configured.
struct CaptureFlags {
  std::vector<std::string> flags;  // -p 15001 -z 15006 ...
  capture::CaptureConfig config;   // the configuration that they result in
  bool nftables = false;           // always use nf_tables
  std::string outbound_port;
  std::string inbound_port;
  // Annotations with the same meaning.
  std::vector<std::pair<std::string, std::string>> annotations;
};

// From the settings, overridden by the annotations; each goes through sluice-init's own table and
// checks. Throws Error(kUsage) naming the annotation, its value and what is expected.
CaptureFlags FlagsOf(const Settings& settings, const capture::Annotations& annotations,
                     unsigned status_port);

}  // namespace sluice::inject
