// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "capture/lock.h"

namespace sluice::capture {

// A change that can be applied and undone: the rules of a table, an address, a route. Functions
// throw sluice::Error.
class Step {
 public:
  virtual ~Step() = default;

  // What it changes: "nat table (IPv4)".
  virtual std::string Name() const = 0;

  // Drops cached kernel state: others may have changed it.
  virtual void Forget() {}

  // Whether the kernel state differs from what is wanted. Changes nothing.
  virtual bool Differs() = 0;

  // The current and the wanted state, as lines in a fixed order: equal lists exactly when nothing
  // differs. The lines are those of iptables -S and iproute2 where these have any.
  virtual std::vector<std::string> Have() = 0;
  virtual std::vector<std::string> Want() = 0;

  // Applies the change: all of it, or nothing and an exception. Remembers the old state.
  virtual void Apply() = 0;

  // After Apply: restores the old state.
  virtual void Undo() = 0;

  // After Apply: false when there turned out to be nothing to do.
  virtual bool Changed() const { return true; }

  // After Apply, what was written: "4 chains, 17 rules". Otherwise what is there. Empty when Name
  // says it all; kNothing when the step only removes.
  static constexpr std::string_view kNothing = "no Sluice rules";
  virtual std::string Summary() const = 0;
};

// The result of one step.
struct StepResult {
  std::string name;
  bool changed = false;
  std::string summary;
};

struct TransactionResult {
  std::vector<StepResult> steps;

  bool changed() const;
};

// Applies all of `steps`, in order, or none. `lock` is that of the network namespace which they
// change.
//
// Under the lock: compares, and applies what differs; nothing is written when nothing differs. If
// the lock is not held yet, it first compares without it, because a correct state needs no waiting.
// To change something it waits up to `lock_wait`, then compares again, because the previous holder
// may have done the work. A caller that already took the lock with Try() saves the second
// comparison. When a step fails, the earlier ones are undone, last first, and its Error is
// rethrown; if one cannot be undone, the Error says so.
TransactionResult RunTransaction(const std::vector<std::unique_ptr<Step>>& steps, Lock& lock,
                                 std::chrono::milliseconds lock_wait);

}  // namespace sluice::capture
