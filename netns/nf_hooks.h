// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ip_address.h"

namespace sluice::netns {

// An nf_tables base chain that may have an effect: it has a rule, or a policy other than accept.
struct NfBaseChain {
  bool ipv4 = false;  // in a table of family ip or inet
  bool ipv6 = false;  // ip6 and inet
  std::string table;
  std::string chain;
  std::uint32_t hook = 0;  // NF_INET_*
  std::int32_t priority = 0;
};

// All such chains in the namespace of the calling thread; empty if the kernel has no nf_tables.
// They are listed, not read. Nothing without CAP_NET_ADMIN, which even listing needs.
std::optional<std::vector<NfBaseChain>> ListNfBaseChains();

}  // namespace sluice::netns
