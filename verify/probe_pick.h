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
  std::string pod;   // "slprobe0", behind what a name must begin with to be captured
  std::string peer;  // "slprobe1" likewise: where the outside world is played
  friend bool operator==(const InterfaceNames&, const InterfaceNames&) = default;
};

// Names whose traffic the configuration captures; nothing when there is none, such as when
// --include-interfaces has no wildcard.
std::optional<InterfaceNames> ChooseInterfaceNames(const capture::CaptureConfig& config);
// Whatever the configuration.
InterfaceNames DefaultInterfaceNames();
// Whether a link of that name is the pod's end of a probe link, whichever run made it.
bool IsProbeInterface(const std::string& name);

// An address in one of `among`, the first that has one, and in none of `blocked`.
std::optional<IpAddress> PickAddress(const std::vector<Cidr>& among,
                                     const std::vector<Cidr>& blocked);

// The same for ports; `preferred` when it will do.
std::optional<std::uint16_t> PickPort(const std::vector<PortRange>& among,
                                      const std::vector<PortRange>& blocked,
                                      std::uint16_t preferred);

// A number that is `preferred` or else at least 1000 (below are the system's accounts), and in none
// of the lists; with `among`, one of those.
std::optional<std::uint32_t> PickId(std::uint32_t preferred,
                                    const std::optional<std::vector<std::uint32_t>>& among,
                                    const std::vector<std::uint32_t>& blocked);

// 198.18.0.0/15 (RFC 2544) or 2001:2::/48 (RFC 5180): kept for measurements, so that nobody is met
// there.
Cidr BenchmarkRange(Family family);

// Addresses that no host outside can have: this host, loopback, link-local, multicast, reserved.
std::vector<Cidr> NeverOutside(Family family);

}  // namespace sluice::verify
