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

  // What is in the kernel now, or was at the last look.
  const State& Look();
  // The same, whoever may have changed it.
  const State& LookAgain();
  // Writes `wanted` over what is there, and says what was. Starts over while others write, up to
  // kCommitAttempts times.
  State Replace(const State& wanted, bool anew);

  // Whether tables of ours are there.
  bool HasAny() { return Look().any(); }
  // What of others looks as if it captured as well.
  std::vector<std::string> ForeignCaptures();

 private:
  Kernel& kernel();

  std::optional<Kernel> kernel_;
  std::optional<State> state_;
};

inline constexpr int kCommitAttempts = 10;

}  // namespace sluice::nftables
