// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/cgroup_limits.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace sluice::proxy {
namespace {

// Version 1 writes "no limit" as the largest number of pages (PAGE_COUNTER_MAX), which no machine
// has.
constexpr std::uint64_t kUnlimited = 1ULL << 62;

// A controller's limit file, for both versions.
struct LimitFile {
  const char* controller;
  const char* version1;
  const char* version2;
};

// The files of the cgroup `path` below `root` and all its parents. A container may see the host's
// path although only its own cgroup is mounted: then that is the root.
void AddWayUp(const std::filesystem::path& root, std::filesystem::path path, const char* file,
              std::vector<std::filesystem::path>& files) {
  path = path.relative_path();
  files.push_back(root / file);
  for (; !path.empty(); path = path.parent_path()) files.push_back(root / path / file);
}

bool Names(const std::string& controllers, const std::string& controller) {
  std::istringstream list(controllers);
  for (std::string each; std::getline(list, each, ',');) {
    if (each == controller) return true;
  }
  return false;
}

std::vector<std::filesystem::path> FilesOf(const LimitFile& limit,
                                           const std::filesystem::path& self,
                                           const std::filesystem::path& mount) {
  std::vector<std::filesystem::path> files;
  std::ifstream hierarchies(self);
  // "4:memory:/kubepods/pod1" of version 1, "0::/kubepods/pod1" of version 2.
  std::string number;
  std::string controllers;
  std::string path;
  while (std::getline(hierarchies, number, ':') && std::getline(hierarchies, controllers, ':') &&
         std::getline(hierarchies, path)) {
    if (controllers.empty()) {
      AddWayUp(mount, path, limit.version2, files);
    } else if (Names(controllers, limit.controller)) {
      AddWayUp(mount / limit.controller, path, limit.version1, files);
    }
  }
  return files;
}

}  // namespace

std::optional<std::uint64_t> MemoryLimitBytes(const std::filesystem::path& self,
                                              const std::filesystem::path& mount) {
  std::uint64_t least = kUnlimited;
  for (const auto& file : FilesOf({"memory", "memory.limit_in_bytes", "memory.max"}, self, mount)) {
    std::ifstream in(file);
    // In version 2 it may be "max", which is not a number.
    if (std::uint64_t bytes = 0; in >> bytes) least = std::min(least, bytes);
  }
  if (least >= kUnlimited) return std::nullopt;
  return least;
}

std::optional<double> CpuQuota(const std::filesystem::path& self,
                               const std::filesystem::path& mount) {
  std::optional<double> least;
  for (const auto& file : FilesOf({"cpu", "cpu.cfs_quota_us", "cpu.max"}, self, mount)) {
    std::ifstream in(file);
    // No quota: -1 in version 1, "max" in version 2.
    std::int64_t quota_us = -1;
    if (!(in >> quota_us) || quota_us < 0) continue;
    // The kernel's default. Version 1 keeps the period in a separate file.
    std::int64_t period_us = 100'000;
    if (file.filename() == "cpu.max") {
      in >> period_us;
    } else {
      std::ifstream(file.parent_path() / "cpu.cfs_period_us") >> period_us;
    }
    if (period_us <= 0) continue;
    const double cpus = static_cast<double>(quota_us) / static_cast<double>(period_us);
    least = std::min(cpus, least.value_or(cpus));
  }
  return least;
}

int CpusFor(std::optional<double> quota, int usable) {
  if (!quota || *quota >= usable) return usable;
  return std::max(1, static_cast<int>(std::ceil(*quota)));
}

}  // namespace sluice::proxy
