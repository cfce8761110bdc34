// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "capture/capture_config.h"
#include "capture/pod/annotations.h"
#include "inject/settings.h"

namespace sluice::inject {

// What a pod's sluice-init is told.
struct CaptureFlags {
  std::vector<std::string> flags;  // -p 15001 -z 15006 ...
  capture::CaptureConfig config;   // what it makes of them
  bool nftables = false;           // by nf_tables, whatever is there
  std::string outbound_port;
  std::string inbound_port;
  // The annotations that say the same, with their values.
  std::vector<std::pair<std::string, std::string>> annotations;
};

// By the settings and, over them, the annotations; each goes through sluice-init's own table and
// checks. Throws Error(kUsage) that names the annotation, its value and what would be right.
CaptureFlags FlagsOf(const Settings& settings, const capture::Annotations& annotations,
                     unsigned status_port);

}  // namespace sluice::inject
