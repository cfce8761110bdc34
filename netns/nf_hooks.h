// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ip_address.h"

namespace sluice::netns {

// A base chain of nf_tables that may do something: it has a rule, or a policy of its own.
struct NfBaseChain {
  bool ipv4 = false;  // of the tables' families ip and inet
  bool ipv6 = false;  // ip6 and inet
  std::string table;
  std::string chain;
  std::uint32_t hook = 0;  // NF_INET_*
  std::int32_t priority = 0;
};

// All of them in the namespace of the calling thread; empty where the kernel has no nf_tables. They
// are named, not read. Nothing without CAP_NET_ADMIN, which even asking takes.
std::optional<std::vector<NfBaseChain>> ListNfBaseChains();

}  // namespace sluice::netns
