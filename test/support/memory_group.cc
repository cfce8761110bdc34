// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "test/support/memory_group.h"

#include <unistd.h>

#include <atomic>
#include <fstream>
#include <string>
#include <system_error>
#include <utility>

namespace sluice::testing_support {
namespace {

constexpr const char* kVersion1 = "/sys/fs/cgroup/memory";
constexpr const char* kVersion2 = "/sys/fs/cgroup";

bool Write(const std::filesystem::path& file, const std::string& value) {
  std::ofstream out(file);
  return static_cast<bool>(out << value << std::flush);
}

}  // namespace

std::optional<MemoryGroup> MemoryGroup::Make(std::uint64_t limit_bytes) {
  static std::atomic<int> number{0};
  const std::string name =
      "sluice-test-" + std::to_string(::getpid()) + "-" + std::to_string(++number);
  const bool v2 = !std::filesystem::exists(kVersion1);
  const std::filesystem::path path = std::filesystem::path(v2 ? kVersion2 : kVersion1) / name;
  std::error_code error;
  if (!std::filesystem::create_directory(path, error)) return std::nullopt;
  MemoryGroup group(path, v2);
  const std::string limit = std::to_string(limit_bytes);
  if (!Write(path / (v2 ? "memory.max" : "memory.limit_in_bytes"), limit)) return std::nullopt;
  // The file is missing on a machine without swap.
  if (v2) Write(path / "memory.swap.max", "0");
  return group;
}

MemoryGroup::MemoryGroup(std::filesystem::path path, bool v2) : path_(std::move(path)), v2_(v2) {}

MemoryGroup::MemoryGroup(MemoryGroup&& other) noexcept
    : path_(std::exchange(other.path_, {})), v2_(other.v2_) {}

MemoryGroup::~MemoryGroup() {
  if (path_.empty()) return;
  // A group that is not empty cannot be removed.
  std::ifstream inhabitants(procs());
  for (std::string pid; inhabitants >> pid;) Write(path_.parent_path() / "cgroup.procs", pid);
  ::rmdir(path_.c_str());
}

std::uint64_t MemoryGroup::UsedBytes() const {
  return Read(v2_ ? "memory.current" : "memory.usage_in_bytes");
}

std::uint64_t MemoryGroup::Kills() const {
  return v2_ ? Read("memory.events", "oom_kill") : Read("memory.oom_control", "oom_kill");
}

std::uint64_t MemoryGroup::Read(const char* file, const char* key) const {
  std::ifstream in(path_ / file);
  std::string word;
  while (key != nullptr && in >> word && word != key) {
  }
  std::uint64_t value = 0;
  in >> value;
  return value;
}

}  // namespace sluice::testing_support
