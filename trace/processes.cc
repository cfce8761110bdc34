// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "trace/processes.h"

#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <vector>

#include "base/os/proc.h"

namespace sluice::trace {
namespace {

// More than a node has. A search must end.
constexpr std::size_t kMostProcesses = 32768;
constexpr std::size_t kMostDescriptors = 262144;
constexpr std::size_t kMostLast = 8;

// `budget`: how many more descriptors may be read.
bool Has(pid_t pid, std::uint32_t inode, std::size_t& budget) {
  bool found = false;
  ForEachDescriptor(pid, [&](std::uint64_t one) {
    if (budget == 0) return false;
    --budget;
    found = one == inode;
    return !found;
  });
  return found;
}

// A thread may have other credentials than its process: the group is known only if the user is that
// of the socket.
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
  if (inode == 0) return {};
  std::size_t budget = kMostDescriptors;
  const auto found = [&](pid_t pid) {
    std::erase(last_, pid);
    last_.push_front(pid);
    if (last_.size() > kMostLast) last_.pop_back();
    return Describe(pid, uid);
  };
  for (const pid_t pid : last_) {
    if (Has(pid, inode, budget)) return found(pid);
  }
  if (!thorough) return {};
  std::vector<pid_t> of_user, others;
  std::size_t seen = 0;
  for (const pid_t pid : ListProcesses()) {
    if (++seen > kMostProcesses) break;
    if (std::ranges::find(last_, pid) != last_.end()) continue;
    struct stat about {};
    const bool same =
        stat(("/proc/" + std::to_string(pid)).c_str(), &about) == 0 && about.st_uid == uid;
    (same ? of_user : others).push_back(pid);
  }
  for (const auto* const list : {&of_user, &others}) {
    for (const pid_t pid : *list) {
      if (Has(pid, inode, budget)) return found(pid);
    }
  }
  return {};
}

}  // namespace sluice::trace
