// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <map>

#include "base/ip_address.h"

namespace sluice::proxy {

// How many connections each client address has here, so that one client does not take the places
// of all others. Not thread-safe: each worker counts its own.
class ClientCounts {
 public:
  // Without memory for another address it counts nothing, and Remove may then find none.
  void Add(const IpAddress& client) noexcept;
  void Remove(const IpAddress& client) noexcept;
  std::uint64_t Of(const IpAddress& client) const;

 private:
  // A tree: clients choose their addresses, and could choose them for a hash table's collisions.
  std::map<IpAddress, std::uint64_t> counts_;  // no zeros
};

// Whether a client that has `own` connections may make another while `free` places are left: one
// client may hold 31 of 32, two may hold 31 of 63 each, and so on. So there are always some left
// for one who has few, and one alone, such as a gateway, has nearly all.
constexpr bool IsWithinShare(std::uint64_t own, std::uint64_t free) { return own < 31 * free; }

}  // namespace sluice::proxy
