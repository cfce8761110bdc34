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

// Whether CPU time is rationed: who uses it up sleeps for the rest of each period.
bool HasCpuQuota(const std::filesystem::path& self = "/proc/self/cgroup",
                 const std::filesystem::path& mount = "/sys/fs/cgroup");

}  // namespace sluice::proxy
