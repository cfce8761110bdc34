// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <optional>

#include "capture/backend.h"
#include "nftables/kernel.h"

namespace sluice::nftables {

// nf_tables through netlink: the tables "ip sluice" and "ip6 sluice", one step for both.
class NftablesBackend : public capture::Backend {
 public:
  std::string_view Name() const override { return "nftables"; }
  capture::RuleSet Compile(const capture::RuleSet& rules) const override;
  // For "nft -f" (text.h).
  std::string Text(const capture::RuleSet& rules) const override;
  std::vector<std::unique_ptr<capture::Step>> Plan(const capture::RuleSet& rules,
                                                   const capture::PlanOptions& options,
                                                   std::vector<std::string>& warnings) override;
  capture::InstalledTable Read(Family family, capture::Table table) override;
  void Forget() override { state_.reset(); }

  // The kernel's state, read now or at an earlier look.
  const State& Look();
  // Always reads again.
  const State& LookAgain();
  // Replaces what is there with `wanted`, and returns what was there. Starts over when others write
  // at the same time, up to kCommitAttempts times.
  State Replace(const State& wanted, bool anew);

  // Whether Sluice tables exist.
  bool HasAny() { return Look().any(); }
  // Whether others have tables, as of the last read.
  bool HasOthers();
  // Foreign rules that seem to capture traffic as well, as of the last read: nothing is read again
  // after a write.
  std::vector<std::string> ForeignCaptures();

 private:
  Kernel& kernel();

  std::optional<Kernel> kernel_;
  std::optional<State> state_;
  // Foreign tables, which outlive Forget().
  std::optional<std::vector<OtherTable>> others_;
};

inline constexpr int kCommitAttempts = 10;

}  // namespace sluice::nftables
