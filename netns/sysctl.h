// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>

namespace sluice::netns {

// The kernel's settings under /proc/sys/net, of the network namespace that the calling thread is in
// (proc_sys(5)). `name` is the path below that directory: "ipv4/ip_forward". Both throw
// sluice::Error: kKernelFeature when there is no such setting, kPrivilege when it cannot be
// written.

// Without the end of line.
std::string ReadSysctl(std::string_view name);
void WriteSysctl(std::string_view name, std::string_view value);

}  // namespace sluice::netns
