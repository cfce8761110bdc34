// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "capture/lock.h"

namespace sluice::capture {

// Something that is to become so, and can be put back: the rules of a table, an address, a route.
// Functions throw sluice::Error.
class Step {
 public:
  virtual ~Step() = default;

  // What it is about: "nat table (IPv4)".
  virtual std::string Name() const = 0;

  // What was remembered of the kernel is out of date: others may have changed it.
  virtual void Forget() {}

  // Whether the kernel has something else than what is wanted. Changes nothing.
  virtual bool Differs() = 0;

  // What the kernel has now, and what is wanted, as lines in a fixed order: equal lists exactly
  // when nothing differs. The lines are those of iptables -S and iproute2 where they have some.
  virtual std::vector<std::string> Have() = 0;
  virtual std::vector<std::string> Want() = 0;

  // Makes it so: all of it, or nothing and an exception. Remembers what was there.
  virtual void Apply() = 0;

  // After Apply: puts back what was there.
  virtual void Undo() = 0;

  // After Apply: false when it turned out that there was nothing it could do.
  virtual bool Changed() const { return true; }

  // After Apply, what was written: "4 chains, 17 rules". Otherwise what is there. Empty when Name
  // says it all; kNothing when the step wants nothing to be there.
  static constexpr std::string_view kNothing = "no Sluice rules";
  virtual std::string Summary() const = 0;
};

// What became of one step.
struct StepResult {
  std::string name;
  bool changed = false;
  std::string summary;
};

struct TransactionResult {
  std::vector<StepResult> steps;

  bool changed() const;
};

// Brings about all of `steps`, in their order, or none. `lock` is that of the network namespace
// which they are about.
//
// Looks, and applies what differs, under the lock; where nothing differs nothing is written. When
// the lock is not held yet it looks without, because what is in place needs no waiting for, and
// waits up to `lock_wait` only to change something; then it looks again, because whoever held the
// lock may have done the work. Who takes the lock before, with Try(), is spared the second look.
// When a step fails the ones before it are undone, last first, and its Error goes on; when one of
// them cannot be undone the Error says so.
TransactionResult RunTransaction(const std::vector<std::unique_ptr<Step>>& steps, Lock& lock,
                                 std::chrono::milliseconds lock_wait);

}  // namespace sluice::capture
