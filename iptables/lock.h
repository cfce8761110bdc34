#pragma once

#include <chrono>
#include <optional>

#include "base/unique_fd.h"

namespace sluice::iptables {

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
  // `network` is a descriptor of the namespace, which stays the caller's, open for as long as this
  // lives, and not locked by anybody else who has it. Waits up to `wait`. Throws Error: kLocked,
  // naming the process that holds it when it can be seen.
  Lock(int network, std::chrono::milliseconds wait);

  // Does not wait: nothing when somebody else holds it.
  static std::optional<Lock> Try(int network);

  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  // Unlocks the namespace in the end.
  class Held {
   public:
    Held() = default;
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    ~Held() { reset(-1); }
    void reset(int network);

   private:
    int network_ = -1;
  };

  Held network_;
  UniqueFd xtables_;
};

}  // namespace sluice::iptables
