// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace sluice::capture {

// Keeps other Sluice processes, and iptables-legacy where it can be reached, from writing rules in
// a network namespace at the same time. Released when this goes, or with the process however that
// ends.
//
// It is an flock(2) on the namespace itself (/proc/thread-self/ns/net): as wide as the rules are,
// needs no file system to write to, and is the same for every container of a pod. And, when it
// exists, one on the file of iptables-legacy ($XTABLES_LOCKFILE, else /run/xtables.lock), which
// libiptc does not take by itself.
class Lock {
 public:
  // Not held yet. `network` is a descriptor of the namespace, which stays the caller's, open for as
  // long as this lives, and not locked by anybody else who has it.
  explicit Lock(int network) : network_(network) {}
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  ~Lock();

  // Does not wait: false when somebody else holds it.
  bool Try();
  // Waits up to `wait`. Throws Error: kLocked, naming the process that holds it when it can be
  // seen.
  void Acquire(std::chrono::milliseconds wait);
  bool held() const { return held_; }

 private:
  int network_;
  UniqueFd xtables_;
  bool held_ = false;
};

// Who holds such a lock now, besides this process. Takes none. Processes of other pid namespaces
// are not seen.
struct LockHolder {
  std::string lock;  // the file: "/run/xtables.lock", or "the network namespace"
  long pid = 0;
  std::string name = {};  // of the process; empty where it cannot be read
};
std::vector<LockHolder> FindLockHolders(int network);

}  // namespace sluice::capture
