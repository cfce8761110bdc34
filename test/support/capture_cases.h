// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip_address.h"
#include "capture/capture_config.h"

namespace sluice::testing_support {

// A named configuration of sluice-init. The unit tests compare its rules with
// test/golden/NAME.{v4,v6}.txt; the namespace tests apply it.
struct CaptureCase {
  std::string name;
  std::vector<std::string> args;              // without the program's name
  std::vector<std::string> environment = {};  // "NAME=value"
  bool pod_has_ipv6 = true;  // whether an interface of the pod has a global address
  std::vector<std::string> resolvers = {"10.96.0.10", "2001:db8::1"};  // in /etc/resolv.conf
};

std::ostream& operator<<(std::ostream& out, const CaptureCase& chosen);

// All cases; names are unique. Those of the conformance set come first, with its
// names.
const std::vector<CaptureCase>& CaptureCases();

// Throws std::out_of_range for an unknown name.
const CaptureCase& FindCase(std::string_view name);

// The configuration that the program derives in such a pod.
capture::CaptureConfig ConfigOf(const CaptureCase& chosen);

// "192.0.2.0/32,192.0.2.2/32,...": `count` hosts, of which no two can be merged.
std::string ManyHosts(Family family, int count);

// For the names of parameterised tests: letters, digits and underscores only.
std::string TestName(std::string_view text);

}  // namespace sluice::testing_support
