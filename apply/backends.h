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

// Whether nf_tables can be asked without its module being loaded for that.
enum class NfTables { kAsk, kNotLoaded, kUnknown };

// Whether a backend can be looked at by who may change nothing, not even by asking.
struct Sight {
  capture::Backend* backend = nullptr;
  bool in_build = true;
  bool in_use = false;      // otherwise it holds nothing, and is not to be asked
  std::string unseen = {};  // why it cannot be looked at; empty: it can
};

// The backends, and which of them a run is about. The only place that knows both.
class Backends {
 public:
  // Looks where Sluice rules are, and what the kernel and the privileges allow. Makes nothing.
  // Throws where the backend that is asked for is not in this build.
  void Choose(const capture::InitConfig& config);

  capture::Backend& chosen() { return *chosen_; }
  // The one whose rules go; nullptr where there can be none, or cannot be looked.
  capture::Backend* other() { return other_; }
  const std::string& why() const { return why_; }
  // What could not be looked at, for who removes or shows; empty for nothing.
  const std::string& unseen() const { return unseen_; }

  // Throws what keeps a run from the backend that was asked for, where a privilege is missing.
  // Other steps need the same one, and know less of what helps.
  void CheckPrivilege() const;

  // Does `work`, and once more with the other backend where the kernel turns out to lack something
  // of the one that was taken, nobody asked for that one, and no Sluice rules are there. An error
  // about the kernel also says what kept us from the other backend.
  void Run(const std::function<void()>& work);

  // Both of them, in the order in which the kernel asks their rules. Needs no choice.
  std::vector<Sight> LookOnly(NfTables nf_tables);
  // Of one that LookOnly says can be asked: the tables in which others have rules, and what of
  // others looks as if it captured as well.
  std::vector<std::string> OthersOf(const capture::Backend& backend);
  std::vector<std::string> CapturesOfOthers(const capture::Backend& backend);

  // What of others in nf_tables looks as if it captured as well. Empty where it cannot be seen.
  std::vector<std::string> ForeignCaptures();

 private:
  void Take(capture::Backend& backend, std::string why);
  // After `error`, takes the other backend. False when there is none to take.
  bool FallBack(const Error& error);
  // `error` with what kept us from the other backend, where it is about the kernel.
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
  // Why a backend was given up, in words.
  std::string given_up_;
};

}  // namespace sluice::apply
