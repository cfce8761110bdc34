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

class OtherRules;

// How a plan is made.
struct PlanOptions {
  // Write the rules even where nothing differs. Does not affect what is removed.
  bool force = false;
};

// Writes rules into the kernel and reads them back: x_tables or nf_tables. Works on the network
// namespace of the calling thread, and caches what is expensive to read until Forget(). Not
// thread-safe. Functions throw sluice::Error: kPrivilege names the missing capability,
// kKernelFeature what the kernel lacks and the module that provides it.
class Backend {
 public:
  virtual ~Backend() = default;

  // "iptables": the name that --backend takes.
  virtual std::string_view Name() const = 0;

  // `rules` in the form in which Read() returns them. Pure.
  virtual RuleSet Compile(const RuleSet& rules) const = 0;

  // `rules` in the format of the backend's own restore program. Pure.
  virtual std::string Text(const RuleSet& rules) const = 0;

  // The steps that turn the Sluice rules into `rules`; an empty set removes them all. The steps can
  // be applied and undone (capture/transaction.h). Whatever a step leaves out goes to `warnings`.
  // The backend and `warnings` must outlive the steps.
  virtual std::vector<std::unique_ptr<Step>> Plan(const RuleSet& rules, const PlanOptions& options,
                                                  std::vector<std::string>& warnings) = 0;

  // The Sluice rules that are now in the table.
  virtual InstalledTable Read(Family family, Table table) = 0;

  // Whether a table read so far had other rules in the chains that Sluice uses. If false, there is
  // no need to look at them (capture/foreign.h).
  virtual bool SawForeignRules() const { return false; }

  // Drops the cache.
  virtual void Forget() = 0;

  // A backend whose rules are asked before those of this one, whoever wrote them; nullptr for none.
  // It outlives this one.
  void StandBehind(Backend* other) { before_ = other; }
  Backend* before() const { return before_; }

  // Foreign rules that FindObstructions (capture/foreign.h) takes into account as well; nullptr
  // for none. They outlive this.
  void StandBeside(OtherRules* others) { beside_ = others; }
  OtherRules* beside() const { return beside_; }

 private:
  Backend* before_ = nullptr;
  OtherRules* beside_ = nullptr;
};

}  // namespace sluice::capture
