// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>

// capabilities(7) of the calling thread, with plain system calls: two 64-bit sets do not justify a
// library.
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

// Makes all permitted capabilities effective. For programs whose file has them as permitted only
// (setcap NAME=p): such a file also starts where the capability is not allowed, while one with
// NAME=ep does not. Throws sluice::Error.
void RaisePermitted();

// Whether a file capability can take effect: it is in the bounding set.
bool IsInBoundingSet(int capability);

// The ambient set must be within the inheritable one. Throws sluice::Error.
void SetCapabilities(const Capabilities& wanted);

}  // namespace sluice
