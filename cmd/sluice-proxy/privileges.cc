#include "cmd/sluice-proxy/privileges.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"

namespace sluice::proxy {
namespace {

// capabilities(7), by the system calls themselves: two sets of 32 bits are not worth a library.
using Sets = __user_cap_data_struct[_LINUX_CAPABILITY_U32S_3];

// Nothing to report when it is refused: without CAP_SETPCAP the bounding set stays, and is of no
// use to a process that has no_new_privs.
void EmptyBoundingSet() {
  for (int each = 0; ::prctl(PR_CAPBSET_READ, each, 0, 0, 0) >= 0; ++each) {
    ::prctl(PR_CAPBSET_DROP, each, 0, 0, 0);
  }
}

}  // namespace

void KeepCapabilities(std::span<const int> kept) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) throw SystemError(errno, "set no_new_privs");
  EmptyBoundingSet();
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  Sets had{};
  if (::syscall(SYS_capget, &header, had) != 0) throw SystemError(errno, "read the capabilities");
  Sets left{};
  for (const int capability : kept) {
    const auto index = static_cast<std::size_t>(CAP_TO_INDEX(capability));
    left[index].effective |= had[index].permitted & CAP_TO_MASK(capability);
    left[index].permitted = left[index].effective;
  }
  // The ambient set is within the inheritable one, and goes with it.
  if (::syscall(SYS_capset, &header, left) != 0) throw SystemError(errno, "drop the capabilities");
}

}  // namespace sluice::proxy
