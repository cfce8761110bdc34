// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "apply/backends.h"

#include <linux/capability.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "base/os/capabilities.h"
#include "capture/explain/model.h"
#include "iptables/xt_reader.h"
#include "netns/nf_hooks.h"

namespace sluice::apply {
namespace {

// The table with all of Sluice's nf_tables rules.
constexpr std::string_view kOurTable = "sluice";

template <typename T>
void AddOnce(std::vector<T>& to, T value) {
  if (std::ranges::find(to, value) == to.end()) to.push_back(std::move(value));
}

// For a build without iptables: whether x_tables rules are possible in this namespace.
bool MayHaveTables() {
  iptables::TableNames names;
  return names.HasAny(Family::kIpv4) || names.HasAny(Family::kIpv6);
}

std::string CannotSee(std::string_view why) {
  return "rules of x_tables cannot be seen: " + std::string(why);
}

bool LeadsToOurs(const capture::explain::ModelRule& rule) {
  const auto* const jump = std::get_if<capture::Jump>(&rule.action);
  return jump != nullptr && capture::IsOwnedChain(jump->chain);
}

}  // namespace

std::vector<Sight> Backends::LookOnly(NfTables nf_tables) {
  const Capabilities have = ReadCapabilities();
  using enum iptables::NamesFile;
  const iptables::NamesFile v4 = iptables::FindNames(Family::kIpv4);
  const iptables::NamesFile v6 = iptables::FindNames(Family::kIpv6);
  Sight x{.backend = &xtables_, .in_use = v4 != kMissing || v6 != kMissing};
  if (!iptables::InThisBuild()) {
    x.in_build = false;
    x.in_use = x.in_use && MayHaveTables();
    if (x.in_use) {
      x.unseen = "rules of iptables cannot be seen: " + std::string(iptables::kNotInThisBuild);
    }
  } else if (x.in_use) {
    if (!have.Has(CAP_NET_ADMIN) || !have.Has(CAP_NET_RAW)) {
      x.unseen = std::string("rules of iptables cannot be seen without ") +
                 (have.Has(CAP_NET_ADMIN) ? "CAP_NET_RAW" : "CAP_NET_ADMIN and CAP_NET_RAW");
    } else if (v4 == kUnreadable || v6 == kUnreadable) {
      // Reading a table might create it.
      x.unseen = "rules of iptables cannot be seen: /proc/net/ip_tables_names cannot be read";
    }
  }
  Sight nft{.backend = &nftables_, .in_use = nf_tables != NfTables::kNotLoaded};
  if (nft.in_use && !have.Has(CAP_NET_ADMIN)) {
    nft.unseen = "rules of nftables cannot be seen without CAP_NET_ADMIN";
  } else if (nf_tables == NfTables::kUnknown) {
    nft.unseen =
        "rules of nftables are not read: it is not known whether nf_tables is loaded, and asking "
        "could load it";
  } else if (nft.in_use) {
    try {
      nftables_.HasAny();
    } catch (const Error& error) {
      nft.in_use = error.kind() != ErrorKind::kKernelFeature;
      if (nft.in_use) nft.unseen = "rules of nftables cannot be seen: " + error.text().why;
    }
  }
  return {x, nft};
}

std::vector<std::string> Backends::OthersOf(const capture::Backend& backend) {
  std::vector<std::string> out;
  if (&backend == &nftables_) {
    const auto chains = netns::ListNfBaseChains();
    if (!chains) return out;
    for (const netns::NfBaseChain& chain : *chains) {
      if (chain.table != kOurTable) AddOnce(out, chain.table + " (chain " + chain.chain + ")");
    }
    return out;
  }
  iptables::TableNames names;
  capture::explain::Model model;
  iptables::ReadModel(names, model);
  for (const capture::explain::ModelTable& table : model.tables) {
    const bool any = std::ranges::any_of(table.chains, [](const auto& chain) {
      return !chain.ours &&
             std::ranges::any_of(chain.rules, [](const auto& rule) { return !LeadsToOurs(rule); });
    });
    if (any) out.push_back(table.name + " (" + std::string(sluice::Name(table.family)) + ")");
  }
  return out;
}

std::vector<std::string> Backends::CapturesOfOthers(const capture::Backend& backend) {
  if (&backend != &nftables_) return {};
  return nftables_.ForeignCaptures();
}

void Backends::Take(capture::Backend& backend, std::string why) {
  chosen_ = &backend;
  why_ = std::move(why);
}

void Backends::Choose(const capture::InitConfig& config) {
  const Capabilities have = ReadCapabilities();
  // As iptables does: who cannot look at the rules with it shall not write them.
  const bool in_build = iptables::InThisBuild();
  const bool may_use_xtables = in_build && have.Has(CAP_NET_ADMIN) && have.Has(CAP_NET_RAW);
  const iptables::NamesFile names = iptables::FindNames(Family::kIpv4);
  const bool xtables_is_used = names != iptables::NamesFile::kMissing;
  automatic_ = config.backend == capture::BackendChoice::kAuto;
  if (!in_build && config.backend == capture::BackendChoice::kIptables) {
    throw Error(ErrorKind::kUsage,
                {.doing = "use the backend iptables, which " + config.backend_origin + " asks for",
                 .target = {},
                 .why = std::string(iptables::kNotInThisBuild),
                 .help = "use the backend nftables, or a build with it (-DSLUICE_IPTABLES=ON)"});
  }
  try {
    in_place_ = nftables_.HasAny();
  } catch (const Error& error) {
    no_nftables_ = error;
  }
  if (!automatic_) {
    const bool nftables = config.backend == capture::BackendChoice::kNftables;
    if (nftables) {
      Take(nftables_, config.backend_origin);
    } else {
      Take(xtables_, config.backend_origin);
    }
  } else if (in_place_) {
    Take(nftables_, "its rules are there");
  } else if (!in_build) {
    Take(nftables_, std::string(iptables::kNotInThisBuild));
  } else if (xtables_is_used && may_use_xtables) {
    Take(xtables_, "the kernel uses x_tables");
  } else if (!no_nftables_) {
    Take(nftables_, xtables_is_used ? "x_tables needs CAP_NET_RAW, which is missing"
                                    : "the kernel does not use x_tables");
  } else {
    Take(xtables_, "no nf_tables: " + no_nftables_->text().why);
  }
  if (chosen_ == &xtables_) {
    if (!no_nftables_) {
      other_ = &nftables_;
    } else if (no_nftables_->kind() == ErrorKind::kPrivilege) {
      unseen_ = "rules of nf_tables cannot be seen: " + no_nftables_->text().why;
    }
  } else if (xtables_is_used && !in_build) {
    if (MayHaveTables()) unseen_ = CannotSee(iptables::kNotInThisBuild);
  } else if (xtables_is_used) {
    // If the names of existing tables are unreadable, reading a table might create it.
    if (may_use_xtables && names == iptables::NamesFile::kReadable) {
      other_ = &xtables_;
      nftables_.StandBehind(&xtables_);
    } else {
      unseen_ = CannotSee(may_use_xtables ? "/proc/net/ip_tables_names cannot be read"
                                          : "missing CAP_NET_RAW");
    }
  }
}

void Backends::CheckPrivilege() const {
  if (chosen_ == &nftables_ && no_nftables_ && no_nftables_->kind() == ErrorKind::kPrivilege) {
    throw *no_nftables_;
  }
}

void Backends::Run(const std::function<void()>& work) {
  try {
    try {
      work();
    } catch (const Error& error) {
      if (!FallBack(error)) throw;
      work();
    }
  } catch (const Error& error) {
    throw Complete(error);
  }
}

bool Backends::FallBack(const Error& error) {
  if (error.kind() != ErrorKind::kKernelFeature || !automatic_ || in_place_) return false;
  if (!given_up_.empty() || !iptables::InThisBuild()) return false;
  const bool to_nftables = chosen_ == &xtables_;
  if (to_nftables && no_nftables_) return false;
  given_up_ = std::string(chosen_->Name()) + ": " + error.text().why;
  other_ = chosen_;
  if (to_nftables) {
    nftables_.StandBehind(&xtables_);
    Take(nftables_, "x_tables lacks something: " + error.text().why);
  } else {
    Take(xtables_, "nf_tables lacks something: " + error.text().why);
  }
  return true;
}

Error Backends::Complete(const Error& error) const {
  if (error.kind() != ErrorKind::kKernelFeature || !automatic_) return error;
  ErrorText text = error.text();
  if (!given_up_.empty()) {
    text.why += "; and " + given_up_;
  } else if (!iptables::InThisBuild()) {
    text.why += "; and " + std::string(iptables::kNotInThisBuild);
  } else if (chosen_ == &xtables_ && no_nftables_) {
    text.why += "; and nftables: " + no_nftables_->text().why;
  }
  return Error(error.kind(), std::move(text));
}

bool Backends::HasOtherTables() { return !no_nftables_ && nftables_.HasOthers(); }

std::vector<std::string> Backends::ForeignCaptures() {
  if (no_nftables_) return {};
  return nftables_.ForeignCaptures();
}

}  // namespace sluice::apply
