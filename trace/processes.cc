// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "trace/processes.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <memory>
#include <sstream>
#include <string_view>
#include <vector>

namespace sluice::trace {
namespace {

// More than a node has; a search must end.
constexpr std::size_t kMostProcesses = 32768;
constexpr std::size_t kMostDescriptors = 262144;
constexpr std::size_t kMostLast = 8;

struct CloseDirectory {
  void operator()(DIR* directory) const { closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

// `budget` is how many descriptors may still be looked at.
bool Has(pid_t pid, std::string_view socket, std::size_t& budget) {
  const std::string path = "/proc/" + std::to_string(pid) + "/fd";
  const Directory directory(opendir(path.c_str()));
  if (!directory) return false;
  while (const dirent* const entry = readdir(directory.get())) {
    if (budget == 0) return false;
    --budget;
    std::array<char, 64> target;
    const ssize_t size =
        readlinkat(dirfd(directory.get()), entry->d_name, target.data(), target.size());
    if (size > 0 && std::string_view(target.data(), static_cast<std::size_t>(size)) == socket) {
      return true;
    }
  }
  return false;
}

// A thread may have other credentials than its process: the group is only known if the user is the
// socket's.
std::optional<Holder> Describe(pid_t pid, std::uint32_t uid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  Holder out{.pid = pid};
  bool same_user = false;
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("Name:\t")) {
      out.command = line.substr(6);
    } else if (line.starts_with("Uid:") || line.starts_with("Gid:")) {
      // Real, effective, saved, and that of files and sockets.
      std::istringstream words(line.substr(4));
      std::uint32_t real = 0, effective = 0, saved = 0, own = 0;
      if (!(words >> real >> effective >> saved >> own)) continue;
      if (line[0] == 'U') {
        same_user = own == uid;
      } else if (same_user) {
        out.gid = own;
      }
    }
  }
  if (out.command.empty()) return {};
  return out;
}

}  // namespace

std::optional<Holder> Processes::HolderOf(std::uint32_t inode, std::uint32_t uid, bool thorough) {
  const std::string socket = "socket:[" + std::to_string(inode) + "]";
  std::size_t budget = kMostDescriptors;
  const auto found = [&](pid_t pid) {
    std::erase(last_, pid);
    last_.push_front(pid);
    if (last_.size() > kMostLast) last_.pop_back();
    return Describe(pid, uid);
  };
  for (const pid_t pid : last_) {
    if (Has(pid, socket, budget)) return found(pid);
  }
  if (!thorough) return {};
  std::vector<pid_t> of_user, others;
  const Directory proc(opendir("/proc"));
  if (!proc) return {};
  std::size_t seen = 0;
  while (const dirent* const entry = readdir(proc.get())) {
    const std::string_view name = entry->d_name;
    pid_t pid = 0;
    if (std::from_chars(name.data(), name.data() + name.size(), pid).ptr !=
            name.data() + name.size() ||
        pid <= 0) {
      continue;
    }
    if (++seen > kMostProcesses) break;
    if (std::ranges::find(last_, pid) != last_.end()) continue;
    struct stat about {};
    const bool same =
        fstatat(dirfd(proc.get()), entry->d_name, &about, 0) == 0 && about.st_uid == uid;
    (same ? of_user : others).push_back(pid);
  }
  for (const auto* const list : {&of_user, &others}) {
    for (const pid_t pid : *list) {
      if (Has(pid, socket, budget)) return found(pid);
    }
  }
  return {};
}

}  // namespace sluice::trace
