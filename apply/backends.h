// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "capture/backend.h"
#include "capture/settings/init_config.h"
#include "iptables/backend.h"
#include "nftables/backend.h"

namespace sluice::apply {

// Whether nf_tables can be queried without loading its module.
enum class NfTables { kAsk, kNotLoaded, kUnknown };

// Whether a backend can be read by a caller that must not change anything, not even by reading.
struct Sight {
  capture::Backend* backend = nullptr;
  bool in_build = true;
  bool in_use = false;      // if false, it holds nothing and must not be read
  std::string unseen = {};  // why it cannot be read; empty if it can
};

// The backends, and which of them a run uses. The only place that knows both.
class Backends {
 public:
  // Finds out where Sluice rules are, and what the kernel and the privileges allow. Creates
  // nothing. Throws if the chosen backend is not in this build.
  void Choose(const capture::InitConfig& config);

  capture::Backend& chosen() { return *chosen_; }
  // The backend whose rules are to be removed; nullptr where it has none or cannot be read.
  capture::Backend* other() { return other_; }
  const std::string& why() const { return why_; }
  // What could not be read, for callers that remove or show rules; empty for nothing.
  const std::string& unseen() const { return unseen_; }

  // Throws if the chosen backend lacks a privilege. Later steps need the same privilege, but their
  // errors would be less helpful.
  void CheckPrivilege() const;

  // Runs `work`, and runs it again with the other backend if the kernel lacks a feature of the
  // first, that one was not asked for, and there are no Sluice rules. An error about the kernel
  // also says why the other backend could not be used.
  void Run(const std::function<void()>& work);

  // Both, in the order in which the kernel applies their rules. Needs no Choose().
  std::vector<Sight> LookOnly(NfTables nf_tables);
  // For a backend that LookOnly says can be read: the tables in which others have rules, and
  // foreign rules that seem to capture traffic as well.
  std::vector<std::string> OthersOf(const capture::Backend& backend);
  std::vector<std::string> CapturesOfOthers(const capture::Backend& backend);

  // Whether others have tables of nf_tables, as of the last read. False if they cannot be read.
  bool HasOtherTables();
  // For both: see Backend::StandBeside.
  void StandBeside(capture::OtherRules* others) {
    xtables_.StandBeside(others);
    nftables_.StandBeside(others);
  }

  // Foreign nf_tables rules that seem to capture traffic as well. Empty if they cannot be read.
  std::vector<std::string> ForeignCaptures();

 private:
  void Take(capture::Backend& backend, std::string why);
  // After `error`, switches to the other backend. False when there is none.
  bool FallBack(const Error& error);
  // `error`, and if it is about the kernel, also why the other backend could not be used.
  Error Complete(const Error& error) const;

  iptables::XtablesBackend xtables_;
  nftables::NftablesBackend nftables_;
  capture::Backend* chosen_ = &xtables_;
  capture::Backend* other_ = nullptr;
  bool automatic_ = true;
  bool in_place_ = false;
  std::string why_;
  std::string unseen_;
  std::optional<Error> no_nftables_;
  // Why a backend was given up.
  std::string given_up_;
};

}  // namespace sluice::apply
