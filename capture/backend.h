// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "capture/installed.h"
#include "capture/rule.h"
#include "capture/transaction.h"

namespace sluice::capture {

// How a plan is made.
struct PlanOptions {
  // Rules are written even where nothing differs; what is removed is not touched by it.
  bool force = false;
};

// What carries rules into the kernel and reads them back: x_tables or nf_tables. It speaks for the
// network namespace of the calling thread, and remembers what a look costs much to find until
// Forget(). Not thread-safe. Functions throw sluice::Error: kPrivilege names the missing
// capability, kKernelFeature what the kernel lacks and the module that has it.
class Backend {
 public:
  virtual ~Backend() = default;

  // "iptables": as --backend names it.
  virtual std::string_view Name() const = 0;

  // `rules` as this backend holds them, to be compared with Read(). Pure.
  virtual RuleSet Compile(const RuleSet& rules) const = 0;

  // `rules` in the language of the backend's own restore program. Pure.
  virtual std::string Text(const RuleSet& rules) const = 0;

  // The steps that make what is ours into `rules`; an empty set removes all that is ours. They
  // apply and undo (capture/transaction.h). What a step leaves out it says in `warnings`. The
  // backend and `warnings` outlive the steps.
  virtual std::vector<std::unique_ptr<Step>> Plan(const RuleSet& rules, const PlanOptions& options,
                                                  std::vector<std::string>& warnings) = 0;

  // What is ours in the table now.
  virtual InstalledTable Read(Family family, Table table) = 0;

  // Whether a table that was read had rules of others where ours are. False spares a look at them
  // (capture/foreign.h).
  virtual bool SawForeignRules() const { return false; }

  // What was remembered is out of date.
  virtual void Forget() = 0;

  // A backend whose rules are asked before those of this one, whoever wrote them; nullptr for none.
  // It outlives this one.
  void StandBehind(Backend* other) { before_ = other; }
  Backend* before() const { return before_; }

 private:
  Backend* before_ = nullptr;
};

}  // namespace sluice::capture
