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
  std::string scope;  // of a link-local IPv6 address: an interface's name or index; else empty

  friend bool operator==(const Nameserver&, const Nameserver&) = default;
};

// What a forwarder takes from resolv.conf(5): the servers in their order, and how often to ask. The
// search list and ndots are applied by the client's own resolver before a query gets to it. Source:
// resolv.conf(5) and glibc's resolv/res_init.c.
struct ResolvConf {
  std::vector<Nameserver> nameservers;
  // How long one server is waited for. A client waits 5 s for a forwarder by default and then
  // starts over, so a second server has to have been asked by then.
  std::chrono::seconds timeout{2};
  // How often the whole list is gone through.
  int attempts = 2;

  friend bool operator==(const ResolvConf&, const ResolvConf&) = default;
};

// Never fails: as in resolv.conf(5), lines and options that are not understood have no effect. Up
// to 8 servers are taken (glibc takes 3); "options timeout:N" within 1 to 30 s and "attempts:N"
// within 1 to 5, as glibc bounds them.
ResolvConf ParseResolvConf(std::string_view text);

// Throws Error when `path` cannot be read.
ResolvConf ReadResolvConf(const std::string& path = "/etc/resolv.conf");

}  // namespace sluice
