#include "proxy/memory_limit.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

namespace sluice::proxy {
namespace {

// Version 1 says "no limit" by the largest number of pages (PAGE_COUNTER_MAX), which no machine
// has.
constexpr std::uint64_t kUnlimited = 1ULL << 62;

std::uint64_t LimitIn(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::uint64_t bytes = kUnlimited;
  // "max", of version 2, is no number.
  return in >> bytes ? bytes : kUnlimited;
}

// Of the cgroup `path` below `root` and of all above it. A container may see the host's path where
// it has only its own cgroup mounted: that is the root then.
std::uint64_t LeastLimit(const std::filesystem::path& root, std::filesystem::path path,
                         const char* file) {
  path = path.relative_path();
  std::uint64_t least = LimitIn(root / file);
  for (; !path.empty(); path = path.parent_path()) {
    least = std::min(least, LimitIn(root / path / file));
  }
  return least;
}

bool Names(const std::string& controllers, const std::string& controller) {
  std::istringstream list(controllers);
  for (std::string each; std::getline(list, each, ',');) {
    if (each == controller) return true;
  }
  return false;
}

}  // namespace

std::optional<std::uint64_t> MemoryLimitBytes(const std::filesystem::path& self,
                                              const std::filesystem::path& mount) {
  std::uint64_t least = kUnlimited;
  std::ifstream hierarchies(self);
  // "4:memory:/kubepods/pod1" of version 1, "0::/kubepods/pod1" of version 2.
  std::string number;
  std::string controllers;
  std::string path;
  while (std::getline(hierarchies, number, ':') && std::getline(hierarchies, controllers, ':') &&
         std::getline(hierarchies, path)) {
    if (controllers.empty()) {
      least = std::min(least, LeastLimit(mount, path, "memory.max"));
    } else if (Names(controllers, "memory")) {
      least = std::min(least, LeastLimit(mount / "memory", path, "memory.limit_in_bytes"));
    }
  }
  if (least >= kUnlimited) return std::nullopt;
  return least;
}

}  // namespace sluice::proxy
