// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "base/socket_address.h"

namespace sluice::proxy {

// The header of the PROXY protocol, version 2, for a TCP connection (haproxy.org,
// proxy-protocol.txt, section 2.2): written once, before the first byte of the stream.
class ProxyProtocolHeader {
 public:
  // Both addresses must be of one family.
  ProxyProtocolHeader(const SocketAddress& source, const SocketAddress& destination);

  std::span<const char> bytes() const { return std::span(bytes_).first(size_); }

 private:
  // 16 bytes and, for IPv6, two addresses and two ports.
  std::array<char, 16 + 36> bytes_{};
  std::size_t size_ = 0;
};

}  // namespace sluice::proxy
