// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string_view>

#include "base/ip_address.h"
#include "base/unique_fd.h"
#include "iptables/layout/xt_entry.h"
#include "iptables/layout/xt_table.h"

// How x_tables is spoken to: socket options of any socket of the family
// (linux/netfilter_ipv4/ip_tables.h).
namespace sluice::iptables {

// In the network namespace of the thread that makes it.
class XtSocket {
 public:
  // As iptables does: needs CAP_NET_RAW, too. Who may not run iptables, and so could not look at
  // the rules, shall not write them.
  struct AsIptables {};
  XtSocket(AsIptables, Family family);
  // Needs CAP_NET_ADMIN only.
  explicit XtSocket(Family family);

  // Reading and replacing return 0 or an errno. ENOENT and ENOPROTOOPT: the kernel has no such
  // table. Reading makes the kernel create a table that it could have.
  int Read(std::string_view table, XtBlob& out) const;
  // Whether the kernel says that it lacks this revision of the extension. Asking loads its module
  // if possible.
  bool Lacks(const Extension& extension) const;
  // Puts `image` in the place of the table that had `entry_count` entries when it was read; EAGAIN
  // if it has another number by now. Atomic; only the counters arrive a moment later.
  int Replace(std::string_view table, const XtImage& image, unsigned int entry_count) const;

 private:
  XtSocket(Family family, int type, int protocol);

  int level_;
  UniqueFd socket_;
  int error_;  // why there is no socket
};

}  // namespace sluice::iptables
