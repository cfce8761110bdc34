// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cidr.h"

// Where programs find the fields of a packet. Internal to rule_program.h.
namespace sluice::nftables {

// The kernel loads an interface's name with NULs up to this size (IFNAMSIZ).
inline constexpr std::size_t kInterfaceBytes = 16;

// The offset of an address in its header (RFC 791, RFC 8200).
constexpr std::uint8_t AddressOffset(Family family, bool source) {
  if (family == Family::kIpv4) return source ? 12 : 16;
  return source ? 8 : 24;
}
inline std::uint8_t AddressBytes(Family family) {
  return static_cast<std::uint8_t>(AddressBits(family) / 8);
}

}  // namespace sluice::nftables
