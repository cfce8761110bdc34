// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <boost/json/array.hpp>

#include "base/port_range.h"
#include "capture/capture_config.h"
#include "inject/pod_reader.h"
#include "inject/settings.h"

namespace sluice::inject {

// What mutual TLS adds to a pod.
struct MtlsPlan {
  std::vector<std::pair<std::string, std::string>> flags;  // of sluice-proxy, without dashes
  boost::json::array volumes;                              // of the pod
  boost::json::array mounts;                               // of the proxy's container
  std::vector<std::string> warnings;                       // of who would not speak it
};

// Empty when `settings` do not ask for mutual TLS. Throws std::invalid_argument saying what is
// missing.
MtlsPlan PlanMtls(const MtlsSettings& settings, const capture::CaptureConfig& capture,
                  const PodReader& pod, const yaml::Node* annotations);

// Whether connections to this port of the pod come to the proxy.
bool IsCaptured(const capture::CaptureConfig& capture, std::int64_t port);

// "80,8000-8010", as flags take them.
std::string PortList(const std::vector<PortRange>& ports);

// Sets what belongs to mutual TLS. Throws std::invalid_argument saying what is expected.
void SetMtlsCredentials(MtlsSettings& settings, const std::string& value);
void SetMtlsInbound(MtlsSettings& settings, const std::string& value);
void SetMtlsAllow(MtlsSettings& settings, const std::string& value);
void SetMtlsPlaintextPorts(MtlsSettings& settings, const std::string& value);
void SetMtlsOutbound(MtlsSettings& settings, const std::string& value);

}  // namespace sluice::inject
