// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-proxy/privileges.h"

#include <sys/prctl.h>

#include <cerrno>
#include <cstdint>

#include "base/error.h"
#include "base/os/capabilities.h"

namespace sluice::proxy {
namespace {

// Failure is not reported: without CAP_SETPCAP the bounding set stays, but is useless to a process
// with no_new_privs.
void EmptyBoundingSet() {
  for (int each = 0; ::prctl(PR_CAPBSET_READ, each, 0, 0, 0) >= 0; ++each) {
    ::prctl(PR_CAPBSET_DROP, each, 0, 0, 0);
  }
}

}  // namespace

void KeepCapabilities(std::span<const int> kept) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) throw SystemError(errno, "set no_new_privs");
  EmptyBoundingSet();
  const Capabilities had = ReadCapabilities();
  Capabilities left;
  for (const int capability : kept) left.permitted |= std::uint64_t{1} << capability;
  left.permitted &= had.permitted;
  left.effective = left.permitted;
  SetCapabilities(left);
}

}  // namespace sluice::proxy
