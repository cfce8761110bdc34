// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <compare>
#include <cstdint>
#include <iosfwd>
#include <string>

#include "base/ip_address.h"

struct sockaddr_storage;

namespace sluice {

// An address and a TCP or UDP port (host byte order).
struct SocketAddress {
  IpAddress ip;
  std::uint16_t port = 0;

  // "192.0.2.1:80" or "[2001:db8::1]:80".
  std::string ToString() const;

  friend constexpr auto operator<=>(const SocketAddress&, const SocketAddress&) = default;
};

std::ostream& operator<<(std::ostream& out, const SocketAddress& address);

// Fills `out` and returns the length to pass to the system call with it.
std::uint32_t ToSockaddr(const SocketAddress& address, sockaddr_storage& out);

// From an AF_INET or AF_INET6 address; a v4-mapped one becomes IPv4. Any other family gives
// 0.0.0.0:0.
SocketAddress FromSockaddr(const sockaddr_storage& address);

}  // namespace sluice
