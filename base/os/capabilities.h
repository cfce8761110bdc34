// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>

// capabilities(7) of the calling thread, by the system calls themselves: two sets of 64 bits are
// not worth a library.
namespace sluice {

// One bit for each capability: 1 << CAP_NET_ADMIN and so on.
struct Capabilities {
  std::uint64_t effective = 0;
  std::uint64_t permitted = 0;
  std::uint64_t inheritable = 0;

  bool Has(int capability) const { return (effective >> capability & 1U) != 0; }
};

// Throws sluice::Error.
Capabilities ReadCapabilities();

// The ambient set is within the inheritable one, and goes with it. Throws sluice::Error.
void SetCapabilities(const Capabilities& wanted);

}  // namespace sluice
