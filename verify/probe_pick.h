// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/cidr.h"
#include "base/port_range.h"
#include "capture/capture_config.h"

// Names, addresses and ports for the probes of --run-validation. Pure.
namespace sluice::verify {

// The ends of the probe link.
struct InterfaceNames {
  std::string pod;   // "slprobe0", after a prefix that makes it captured
  std::string peer;  // "slprobe1" likewise: the end of the simulated outside world
  friend bool operator==(const InterfaceNames&, const InterfaceNames&) = default;
};

// Names whose traffic the configuration captures; nothing if there are none, for example if
// --include-interfaces has no wildcard.
std::optional<InterfaceNames> ChooseInterfaceNames(const capture::CaptureConfig& config);
// For any configuration.
InterfaceNames DefaultInterfaceNames();
// Whether a link of that name is the pod's end of a probe link, from any run.
bool IsProbeInterface(const std::string& name);

// The first address that is in one of `among` and in none of `blocked`.
std::optional<IpAddress> PickAddress(const std::vector<Cidr>& among,
                                     const std::vector<Cidr>& blocked);

// The same for ports; `preferred` if possible.
std::optional<std::uint16_t> PickPort(const std::vector<PortRange>& among,
                                      const std::vector<PortRange>& blocked,
                                      std::uint16_t preferred);

// `preferred`, or else an id of at least 1000 (lower ones are system accounts), in none of the
// lists and, if `among` is given, in it.
std::optional<std::uint32_t> PickId(std::uint32_t preferred,
                                    const std::optional<std::vector<std::uint32_t>>& among,
                                    const std::vector<std::uint32_t>& blocked);

// 198.18.0.0/15 (RFC 2544) or 2001:2::/48 (RFC 5180): reserved for benchmarks, so that no real host
// is reached.
Cidr BenchmarkRange(Family family);

// Addresses of no outside host: this host, loopback, link-local, multicast, reserved.
std::vector<Cidr> NeverOutside(Family family);

}  // namespace sluice::verify
