// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace sluice::proxy {

// Tells when files may have changed, by inotify(7), so that nobody has to look. Not thread-safe.
//
// It watches directories: who writes credentials replaces files, and Kubernetes turns the symbolic
// link ..data to a new directory. Every symbolic link on the way to a file is watched, too, and
// every directory on the way for being moved or removed, but not for what else happens in it.
class FileWatch {
 public:
  // Relative paths are those of now. Watches nothing yet.
  explicit FileWatch(const std::vector<std::string>& paths);

  // Watches what is on the way to the files now; afterwards events that have come before are
  // forgotten. To be called before each look at the files. False when they cannot be watched, and
  // why() says what failed: there are no instances or watches left (all proxies of a node share
  // those of uid 1337), or a file system on which others' changes are no events.
  bool Arm();
  const std::string& why() const { return why_; }

  // Readable when there is an event; -1 when nothing can be watched.
  int fd() const { return fd_.get(); }

 private:
  void Walk(const std::string& path);
  void Watch(const std::string& directory, std::uint32_t events);
  void ForgetEvents() const;

  std::vector<std::string> paths_;  // absolute
  UniqueFd fd_;
  std::set<int> watches_;
  std::set<int> needed_;  // while Arm runs
  std::string why_;
};

}  // namespace sluice::proxy
