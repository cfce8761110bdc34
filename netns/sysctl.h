// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>

namespace sluice::netns {

// Kernel settings under /proc/sys/net, for the calling thread's network namespace
// (proc_sys(5)). `name` is the path below that directory: "ipv4/ip_forward". Both throw
// sluice::Error: kKernelFeature if there is no such setting, kPrivilege if it cannot be
// written.

// Without the newline.
std::string ReadSysctl(std::string_view name);
void WriteSysctl(std::string_view name, std::string_view value);

}  // namespace sluice::netns
