// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

// What the cgroup of this process and those above it allow, of version 1 or 2 (cgroups(7)), as far
// as they can be seen from here. `self` is /proc/PID/cgroup, `mount` where cgroups are mounted.
namespace sluice::proxy {

// How much memory this process and those in its cgroup may use together: the least of the limits.
// None without a limit.
std::optional<std::uint64_t> MemoryLimitBytes(
    const std::filesystem::path& self = "/proc/self/cgroup",
    const std::filesystem::path& mount = "/sys/fs/cgroup");

// For how many CPUs there is time: the least of the quotas, 0.2 for 200m of Kubernetes. Who uses it
// up sleeps for the rest of each period. None without a quota.
std::optional<double> CpuQuota(const std::filesystem::path& self = "/proc/self/cgroup",
                               const std::filesystem::path& mount = "/sys/fs/cgroup");

// How many threads can have work to do at once, of `usable` CPUs: with a quota that many, rounded
// up, for more would only share the same time. At least 1.
int CpusFor(std::optional<double> quota, int usable);

}  // namespace sluice::proxy
