// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/socket_address.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>
#include <ostream>

namespace sluice {

std::string SocketAddress::ToString() const {
  const std::string text = ip.is_v4() ? ip.ToString() : "[" + ip.ToString() + "]";
  return text + ":" + std::to_string(port);
}

std::ostream& operator<<(std::ostream& out, const SocketAddress& address) {
  return out << address.ToString();
}

std::uint32_t ToSockaddr(const SocketAddress& address, sockaddr_storage& out) {
  std::memset(&out, 0, sizeof(out));
  const auto bytes = address.ip.bytes();
  if (address.ip.is_v4()) {
    auto& in = reinterpret_cast<sockaddr_in&>(out);
    in.sin_family = AF_INET;
    in.sin_port = htons(address.port);
    std::memcpy(&in.sin_addr, bytes.data(), bytes.size());
    return sizeof(in);
  }
  auto& in6 = reinterpret_cast<sockaddr_in6&>(out);
  in6.sin6_family = AF_INET6;
  in6.sin6_port = htons(address.port);
  std::memcpy(&in6.sin6_addr, bytes.data(), bytes.size());
  return sizeof(in6);
}

SocketAddress FromSockaddr(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(address);
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&in.sin_addr);
    return {IpAddress::FromBytes({bytes, 4}), ntohs(in.sin_port)};
  }
  if (address.ss_family == AF_INET6) {
    const auto& in6 = reinterpret_cast<const sockaddr_in6&>(address);
    return {IpAddress::FromBytes({in6.sin6_addr.s6_addr, 16}).Unmapped(), ntohs(in6.sin6_port)};
  }
  return {};
}

}  // namespace sluice
