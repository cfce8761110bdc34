// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Loaded into sluice-init (LD_PRELOAD): a table is changed from outside between being read and
// committed. After the n-th read of the IPv4 nat table it runs a command; SLUICE_AFTER_READ is "n
// command".

#include <linux/netfilter_ipv4/ip_tables.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace {

int reads = 0;

void AfterRead() {
  const char* const plan = std::getenv("SLUICE_AFTER_READ");
  if (plan == nullptr) std::abort();  // a test that changes nothing proves nothing
  char* command = nullptr;
  if (++reads != std::strtol(plan, &command, 10)) return;
  // The command is not sluice-init, and uses the lock file that sluice-init must not use.
  unsetenv("LD_PRELOAD");
  unsetenv("XTABLES_LOCKFILE");
  if (std::system(command) != 0) std::abort();
}

}  // namespace

extern "C" int getsockopt(int fd, int level, int option, void* value, socklen_t* size) noexcept {
  const auto result = static_cast<int>(syscall(SYS_getsockopt, fd, level, option, value, size));
  // The request starts with the table's name.
  if (result == 0 && level == IPPROTO_IP && option == IPT_SO_GET_ENTRIES &&
      std::strcmp(static_cast<const char*>(value), "nat") == 0) {
    AfterRead();
  }
  return result;
}
