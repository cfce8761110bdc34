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

// Makes what is permitted effective, which is how a program has the capabilities of its file where
// the file does not say so itself (setcap NAME=p). Such a file can also be started where the
// capability is not allowed; one of NAME=ep cannot. Throws sluice::Error.
void RaisePermitted();

// Whether the file of a program could give it the capability: it is in the bounding set.
bool IsInBoundingSet(int capability);

// The ambient set is within the inheritable one, and goes with it. Throws sluice::Error.
void SetCapabilities(const Capabilities& wanted);

}  // namespace sluice
