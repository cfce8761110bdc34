#pragma once

#include <chrono>
#include <optional>

#include "base/unique_fd.h"

namespace sluice::iptables {

// Keeps other Sluice processes, and iptables-legacy where it can be reached, from writing rules in
// the network namespace of the calling thread at the same time. Released when this goes, or with
// the process however that ends.
//
// It is an flock(2) on the namespace itself (/proc/thread-self/ns/net): as wide as the rules are,
// needs no file system to write to, and is the same for every container of a pod. And, when it
// exists, one on the file of iptables-legacy ($XTABLES_LOCKFILE, else /run/xtables.lock), which
// libiptc does not take by itself.
class Lock {
 public:
  // Waits up to `wait`. Throws Error: kLocked, naming the process that holds it when it can be
  // seen.
  explicit Lock(std::chrono::milliseconds wait);

  // Does not wait: nothing when somebody else holds it.
  static std::optional<Lock> Try();

 private:
  UniqueFd namespace_;
  UniqueFd xtables_;
};

}  // namespace sluice::iptables
