// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/os/capabilities.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"

namespace sluice {
namespace {

using CapabilityWords = __user_cap_data_struct[_LINUX_CAPABILITY_U32S_3];

std::uint32_t Low(std::uint64_t set) { return static_cast<std::uint32_t>(set); }
std::uint32_t High(std::uint64_t set) { return static_cast<std::uint32_t>(set >> 32U); }
std::uint64_t Join(std::uint32_t low, std::uint32_t high) {
  return static_cast<std::uint64_t>(high) << 32U | low;
}

}  // namespace

Capabilities ReadCapabilities() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  CapabilityWords words{};
  if (::syscall(SYS_capget, &header, words) != 0) throw SystemError(errno, "read the capabilities");
  return {.effective = Join(words[0].effective, words[1].effective),
          .permitted = Join(words[0].permitted, words[1].permitted),
          .inheritable = Join(words[0].inheritable, words[1].inheritable)};
}

void SetCapabilities(const Capabilities& wanted) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  const CapabilityWords words = {{.effective = Low(wanted.effective),
                                  .permitted = Low(wanted.permitted),
                                  .inheritable = Low(wanted.inheritable)},
                                 {.effective = High(wanted.effective),
                                  .permitted = High(wanted.permitted),
                                  .inheritable = High(wanted.inheritable)}};
  if (::syscall(SYS_capset, &header, words) != 0) throw SystemError(errno, "set the capabilities");
}

void RaisePermitted() {
  Capabilities have = ReadCapabilities();
  if (have.effective == have.permitted) return;
  have.effective = have.permitted;
  SetCapabilities(have);
}

bool IsInBoundingSet(int capability) { return ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1; }

}  // namespace sluice
