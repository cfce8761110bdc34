// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "apply/backends.h"

#include <linux/capability.h>
#include <unistd.h>

#include <utility>

#include "base/os/capabilities.h"

namespace sluice::apply {
namespace {

// What x_tables shows where it is loaded, and nothing else makes.
bool KernelUsesXtables() { return access("/proc/thread-self/net/ip_tables_names", F_OK) == 0; }
bool CanReadXtables() { return access("/proc/thread-self/net/ip_tables_names", R_OK) == 0; }

}  // namespace

void Backends::Take(capture::Backend& backend, std::string why) {
  chosen_ = &backend;
  why_ = std::move(why);
}

void Backends::Choose(const capture::InitConfig& config) {
  const Capabilities have = ReadCapabilities();
  // libiptc opens a raw socket.
  const bool may_use_xtables = have.Has(CAP_NET_ADMIN) && have.Has(CAP_NET_RAW);
  const bool xtables_is_used = KernelUsesXtables();
  try {
    in_place_ = nftables_.HasAny();
  } catch (const Error& error) {
    no_nftables_ = error;
  }
  automatic_ = config.backend == capture::BackendChoice::kAuto;
  if (!automatic_) {
    const bool nftables = config.backend == capture::BackendChoice::kNftables;
    if (nftables) {
      Take(nftables_, config.backend_origin);
    } else {
      Take(xtables_, config.backend_origin);
    }
  } else if (in_place_) {
    Take(nftables_, "its rules are there");
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
  } else if (xtables_is_used) {
    // Where the names of tables cannot be read, to look at one would make it.
    if (may_use_xtables && CanReadXtables()) {
      other_ = &xtables_;
    } else {
      unseen_ = "rules of x_tables cannot be seen: " +
                std::string(may_use_xtables ? "/proc/net/ip_tables_names cannot be read"
                                            : "missing CAP_NET_RAW");
    }
  }
}

void Backends::CheckPrivilege() const {
  if (chosen_ == &nftables_ && no_nftables_ && no_nftables_->kind() == ErrorKind::kPrivilege) {
    throw *no_nftables_;
  }
}

bool Backends::FallBack(const Error& error) {
  if (error.kind() != ErrorKind::kKernelFeature || !automatic_ || in_place_) return false;
  if (chosen_ != &nftables_ || !given_up_.empty()) return false;
  given_up_ = "nftables: " + error.text().why;
  other_ = &nftables_;
  Take(xtables_, "nf_tables lacks something: " + error.text().why);
  return true;
}

Error Backends::Complete(const Error& error) const {
  if (error.kind() != ErrorKind::kKernelFeature || !automatic_ || chosen_ != &xtables_) {
    return error;
  }
  ErrorText text = error.text();
  if (!given_up_.empty()) {
    text.why += "; and " + given_up_;
  } else if (no_nftables_) {
    text.why += "; and nftables: " + no_nftables_->text().why;
  }
  return Error(error.kind(), std::move(text));
}

std::vector<std::string> Backends::ForeignCaptures() {
  if (no_nftables_) return {};
  return nftables_.ForeignCaptures();
}

}  // namespace sluice::apply
