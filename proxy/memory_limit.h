#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace sluice::proxy {

// How much memory this process and those in its cgroup may use together (cgroups(7), of version 1
// or 2): the least of the limits of that cgroup and of those above it, as far as they can be seen
// from here. None without a limit. `self` is /proc/PID/cgroup, `mount` where cgroups are mounted.
std::optional<std::uint64_t> MemoryLimitBytes(
    const std::filesystem::path& self = "/proc/self/cgroup",
    const std::filesystem::path& mount = "/sys/fs/cgroup");

}  // namespace sluice::proxy
