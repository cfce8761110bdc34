// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Loaded into sluice-init (LD_PRELOAD) to simulate a kernel without x_tables, without nf_tables, or
// without either: SLUICE_WITHOUT is "x_tables", "nf_tables" or both.

#include <fcntl.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace {

bool Without(const char* what) {
  const char* const names = std::getenv("SLUICE_WITHOUT");
  if (names == nullptr) std::abort();  // a test that leaves nothing out proves nothing
  return std::strstr(names, what) != nullptr;
}

}  // namespace

extern "C" int socket(int domain, int type, int protocol) noexcept {
  if (domain == AF_NETLINK && protocol == NETLINK_NETFILTER && Without("nf_tables")) {
    errno = EPROTONOSUPPORT;
    return -1;
  }
  return static_cast<int>(syscall(SYS_socket, domain, type, protocol));
}

extern "C" int getsockopt(int fd, int level, int option, void* value, socklen_t* size) noexcept {
  const bool v4 = level == IPPROTO_IP && option == IPT_SO_GET_INFO;
  const bool v6 = level == IPPROTO_IPV6 && option == IP6T_SO_GET_INFO;
  // The error for an unregistered option (net/netfilter/nf_sockopt.c).
  if ((v4 || v6) && Without("x_tables")) {
    errno = ENOPROTOOPT;
    return -1;
  }
  return static_cast<int>(syscall(SYS_getsockopt, fd, level, option, value, size));
}

extern "C" int access(const char* path, int mode) noexcept {
  if (std::string_view(path).ends_with("_tables_names") && Without("x_tables")) {
    errno = ENOENT;
    return -1;
  }
  return static_cast<int>(syscall(SYS_faccessat, AT_FDCWD, path, mode));
}
