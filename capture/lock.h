// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace sluice::capture {

// Keeps other Sluice processes, and iptables-legacy where possible, from writing rules in a
// network namespace at the same time. Released with this object, or when the process ends in any
// way.
//
// It is an flock(2) on the namespace itself (/proc/thread-self/ns/net): it covers exactly the
// rules, needs no writable file system, and is shared by all containers of a pod. If the lock file
// of iptables-legacy exists ($XTABLES_LOCKFILE, else /run/xtables.lock), that is locked as
// well.
class Lock {
 public:
  // Does not lock yet. `network` is a descriptor of the namespace. It stays the caller's, who keeps
  // it open during the life of this object; nobody else who shares it may lock it.
  explicit Lock(int network) : network_(network) {}
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  ~Lock();

  // Does not wait: false when another process holds it.
  bool Try();
  // Waits up to `wait`. Throws Error: kLocked, naming the process that holds it when that is
  // visible.
  void Acquire(std::chrono::milliseconds wait);
  bool held() const { return held_; }
  // From now on locks, and keeps locked, only the namespace: for what takes long and writes no
  // rules. An iptables-legacy elsewhere on the node may share the file, and would wait.
  void LetIptablesGo();

 private:
  int network_;
  UniqueFd xtables_;
  bool without_iptables_ = false;
  bool held_ = false;
};

// Other processes that hold such a lock now. Takes no lock. Processes in other pid namespaces are
// not visible.
struct LockHolder {
  std::string lock;  // the file: "/run/xtables.lock", or "the network namespace"
  long pid = 0;
  std::string name = {};  // of the process; empty where it cannot be read
};
std::vector<LockHolder> FindLockHolders(int network);

}  // namespace sluice::capture
