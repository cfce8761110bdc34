// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

// The limits of this process's cgroup and its parents, version 1 or 2 (cgroups(7)), as far as they
// are visible here. `self` is /proc/PID/cgroup, `mount` is where cgroups are mounted.
namespace sluice::proxy {

// How much memory this process and others in its cgroup may use: the lowest limit. None without a
// limit.
std::optional<std::uint64_t> MemoryLimitBytes(
    const std::filesystem::path& self = "/proc/self/cgroup",
    const std::filesystem::path& mount = "/sys/fs/cgroup");

// The CPU quota in CPUs: the lowest one, 0.2 for Kubernetes' 200m. A process that uses it up sleeps
// for the rest of each period. None without a quota.
std::optional<double> CpuQuota(const std::filesystem::path& self = "/proc/self/cgroup",
                               const std::filesystem::path& mount = "/sys/fs/cgroup");

// How many of `usable` CPUs can be busy at once: with a quota that many, rounded up, because more
// threads would only share the same time. At least 1.
int CpusFor(std::optional<double> quota, int usable);

}  // namespace sluice::proxy
