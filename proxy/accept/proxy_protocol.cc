// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/accept/proxy_protocol.h"

#include <cstring>
#include <string_view>

namespace sluice::proxy {
namespace {

constexpr std::string_view kSignature("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr char kVersion2Proxy = 0x21;  // version 2, command PROXY
constexpr char kTcpOverIpv4 = 0x11;
constexpr char kTcpOverIpv6 = 0x21;

}  // namespace

ProxyProtocolHeader::ProxyProtocolHeader(const SocketAddress& source,
                                         const SocketAddress& destination) {
  const auto put = [this](const void* data, std::size_t size) {
    std::memcpy(bytes_.data() + size_, data, size);
    size_ += size;
  };
  const auto put_u16 = [&](std::size_t value) {
    const char both[2] = {static_cast<char>(value >> 8), static_cast<char>(value & 0xff)};
    put(both, 2);
  };
  const auto from = source.ip.bytes();
  const auto to = destination.ip.bytes();
  put(kSignature.data(), kSignature.size());
  put(&kVersion2Proxy, 1);
  put(source.ip.is_v4() ? &kTcpOverIpv4 : &kTcpOverIpv6, 1);
  put_u16(from.size() + to.size() + 4);
  put(from.data(), from.size());
  put(to.data(), to.size());
  put_u16(source.port);
  put_u16(destination.port);
}

}  // namespace sluice::proxy
