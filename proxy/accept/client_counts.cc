// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/accept/client_counts.h"

#include <new>

namespace sluice::proxy {

void ClientCounts::Add(const IpAddress& client) noexcept {
  try {
    ++counts_[client];
  } catch (const std::bad_alloc&) {
  }
}

void ClientCounts::Remove(const IpAddress& client) noexcept {
  const auto found = counts_.find(client);
  if (found != counts_.end() && --found->second == 0) counts_.erase(found);
}

std::uint64_t ClientCounts::Of(const IpAddress& client) const {
  const auto found = counts_.find(client);
  return found == counts_.end() ? 0 : found->second;
}

}  // namespace sluice::proxy
