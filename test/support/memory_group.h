// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace sluice::testing_support {

// A cgroup with a memory limit, in the hierarchy that has the memory controller (cgroups(7),
// version 1 or 2). Kernel memory counts: descriptors and sockets, and in version 2 also their
// buffers. Removed on destruction; its processes then run without a limit.
class MemoryGroup {
 public:
  // nullopt if no hierarchy has a memory controller, or it may not be used.
  static std::optional<MemoryGroup> Make(std::uint64_t limit_bytes);
  MemoryGroup(MemoryGroup&& other) noexcept;
  MemoryGroup& operator=(MemoryGroup&&) = delete;
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;
  ~MemoryGroup();

  // The file for moving a process into it, for Command::cgroup_procs.
  std::string procs() const { return path_ / "cgroup.procs"; }

  std::uint64_t UsedBytes() const;
  // The number of processes that the kernel killed because of the limit.
  std::uint64_t Kills() const;

 private:
  MemoryGroup(std::filesystem::path path, bool v2);
  // A counter of the group, or 0 if it does not exist.
  std::uint64_t Read(const char* file, const char* key = nullptr) const;

  std::filesystem::path path_;
  bool v2_;
};

}  // namespace sluice::testing_support
