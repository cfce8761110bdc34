// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/socket_address.h"

namespace sluice {

// A DNS server to ask.
struct Nameserver {
  SocketAddress address;
  std::string scope;  // of a link-local IPv6 address: an interface name or index; else empty

  friend bool operator==(const Nameserver&, const Nameserver&) = default;
};

// What a forwarder uses from resolv.conf(5): the servers in order, and how often to ask. The
// client's own resolver applies the search list and ndots before it sends a query. Source:
// resolv.conf(5) and glibc's resolv/res_init.c.
struct ResolvConf {
  std::vector<Nameserver> nameservers;
  // How long to wait for one server. A client waits 5 s by default and then starts over, so a
  // second server must have been asked by then.
  std::chrono::seconds timeout{2};
  // How many times to go through the whole list.
  int attempts = 2;

  friend bool operator==(const ResolvConf&, const ResolvConf&) = default;
};

// Never fails: as in resolv.conf(5), unknown lines and options are ignored. Takes up to 8 servers
// (glibc: 3), and limits "options timeout:N" to 1 to 30 s and "attempts:N" to 1 to 5, as glibc
// does.
ResolvConf ParseResolvConf(std::string_view text);

// Throws Error when `path` cannot be read.
ResolvConf ReadResolvConf(const std::string& path = "/etc/resolv.conf");

}  // namespace sluice
