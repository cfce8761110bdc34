// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/os/proc.h"

#include <dirent.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <memory>
#include <string>
#include <string_view>

namespace sluice {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

// All of `text` as a number; 0 if it is none.
template <typename Number>
Number NumberOf(std::string_view text) {
  Number out = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, code] = std::from_chars(text.data(), end, out);
  return code == std::errc{} && stopped == end ? out : 0;
}

std::uint64_t InodeOf(std::string_view target) {
  constexpr std::string_view kSocket = "socket:[";
  if (!target.starts_with(kSocket) || !target.ends_with(']')) return 0;
  target.remove_prefix(kSocket.size());
  target.remove_suffix(1);
  return NumberOf<std::uint64_t>(target);
}

}  // namespace

std::vector<::pid_t> ListProcesses() {
  std::vector<::pid_t> out;
  const Directory proc(::opendir("/proc"));
  if (!proc) return out;
  while (const dirent* const entry = ::readdir(proc.get())) {
    if (const auto pid = NumberOf<::pid_t>(entry->d_name); pid > 0) out.push_back(pid);
  }
  return out;
}

void ForEachDescriptor(::pid_t pid, const std::function<bool(std::uint64_t inode)>& visit) {
  const Directory directory(::opendir(("/proc/" + std::to_string(pid) + "/fd").c_str()));
  if (!directory) return;
  while (const dirent* const entry = ::readdir(directory.get())) {
    std::array<char, 64> target;
    const ssize_t size =
        ::readlinkat(::dirfd(directory.get()), entry->d_name, target.data(), target.size());
    // "." and ".." are no links.
    if (size < 0) continue;
    if (!visit(InodeOf({target.data(), static_cast<std::size_t>(size)}))) return;
  }
}

}  // namespace sluice
