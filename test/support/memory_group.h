#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace sluice::testing_support {

// A cgroup with a limit of memory, in whichever hierarchy the machine has the memory controller
// (cgroups(7), version 1 or 2). Kernel memory counts: descriptors and sockets, in version 2 also
// their buffers. Gone when this is destroyed; what runs in it goes on without a limit.
class MemoryGroup {
 public:
  // None when there is no hierarchy with a memory controller, or we may not use it.
  static std::optional<MemoryGroup> Make(std::uint64_t limit_bytes);
  MemoryGroup(MemoryGroup&& other) noexcept;
  MemoryGroup& operator=(MemoryGroup&&) = delete;
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;
  ~MemoryGroup();

  // The file that moves a process, for Command::cgroup_procs.
  std::string procs() const { return path_ / "cgroup.procs"; }

  std::uint64_t UsedBytes() const;
  // Processes that the kernel killed because the limit was reached.
  std::uint64_t Kills() const;

 private:
  MemoryGroup(std::filesystem::path path, bool v2);
  // One counter of the group; 0 when there is none.
  std::uint64_t Read(const char* file, const char* key = nullptr) const;

  std::filesystem::path path_;
  bool v2_;
};

}  // namespace sluice::testing_support
