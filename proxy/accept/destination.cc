// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/accept/destination.h"

#include <algorithm>

namespace sluice::proxy {
namespace {

bool IsLocal(const IpAddress& address, std::span<const IpAddress> local_addresses) {
  return address.IsLoopback() || address.IsUnspecified() ||
         std::ranges::find(local_addresses, address) != local_addresses.end();
}

}  // namespace

bool NeedsJudgement(const std::optional<SocketAddress>& original,
                    std::span<const std::uint16_t> own_ports) {
  return !original || std::ranges::find(own_ports, original->port) != own_ports.end();
}

Admission AdmissionOf(const Arrival& arrival, std::span<const std::uint16_t> own_ports,
                      std::span<const IpAddress> local_addresses) {
  if (!arrival.original || *arrival.original == arrival.accepted_on)
    return Admission::kNotRedirected;
  if (!NeedsJudgement(arrival.original, own_ports)) return Admission::kRelay;
  return IsLocal(arrival.original->ip, local_addresses) ? Admission::kLoop : Admission::kRelay;
}

}  // namespace sluice::proxy
