// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Loaded into sluice-init (LD_PRELOAD) to simulate a kernel without the raw table. The kernels
// under test have one, and a namespace cannot be created without it.

#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

extern "C" int getsockopt(int fd, int level, int option, void* value, socklen_t* size) noexcept {
  // The first call; the kernel loads the table's module or returns ENOENT
  // (net/ipv4/netfilter).
  const bool v4 = level == IPPROTO_IP && option == IPT_SO_GET_INFO;
  const bool v6 = level == IPPROTO_IPV6 && option == IP6T_SO_GET_INFO;
  // Both structs begin with the table's name.
  if ((v4 || v6) && std::strcmp(static_cast<const char*>(value), "raw") == 0) {
    errno = ENOENT;
    return -1;
  }
  return static_cast<int>(syscall(SYS_getsockopt, fd, level, option, value, size));
}
