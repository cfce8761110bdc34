// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/ip_address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <ostream>
#include <stdexcept>

namespace sluice {

std::string_view Name(Family family) { return family == Family::kIpv4 ? "IPv4" : "IPv6"; }

IpAddress IpAddress::FromBytes(std::span<const std::uint8_t> bytes) {
  if (bytes.size() != 4 && bytes.size() != 16) throw std::invalid_argument("4 or 16 bytes");
  IpAddress out;
  out.family_ = bytes.size() == 4 ? Family::kIpv4 : Family::kIpv6;
  std::ranges::copy(bytes, out.bytes_.begin());
  return out;
}

IpAddress IpAddress::Parse(std::string_view text) {
  const std::string terminated(text);
  IpAddress out;
  out.family_ = text.find(':') == std::string_view::npos ? Family::kIpv4 : Family::kIpv6;
  const int family = out.is_v4() ? AF_INET : AF_INET6;
  // inet_pton stops at a NUL byte, so "1.2.3.4\0x" would pass.
  if (terminated.find('\0') != std::string::npos ||
      inet_pton(family, terminated.c_str(), out.bytes_.data()) != 1) {
    throw std::invalid_argument("an IPv4 or IPv6 address");
  }
  return out;
}

bool IpAddress::IsUnspecified() const {
  return std::ranges::all_of(bytes(), [](std::uint8_t byte) { return byte == 0; });
}

bool IpAddress::IsLoopback() const {
  if (is_v4()) return bytes_[0] == 127;
  return std::all_of(bytes_.begin(), bytes_.end() - 1, [](auto byte) { return byte == 0; }) &&
         bytes_[15] == 1;
}

bool IpAddress::IsLinkLocal() const {
  if (is_v4()) return bytes_[0] == 169 && bytes_[1] == 254;
  return bytes_[0] == 0xfe && (bytes_[1] & 0xc0) == 0x80;
}

bool IpAddress::IsMulticast() const {
  return is_v4() ? (bytes_[0] & 0xf0) == 0xe0 : bytes_[0] == 0xff;
}

IpAddress IpAddress::Unmapped() const {
  constexpr std::array<std::uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (is_v4() || !std::equal(kMapped.begin(), kMapped.end(), bytes_.begin())) return *this;
  return V4(bytes_[12], bytes_[13], bytes_[14], bytes_[15]);
}

std::string IpAddress::ToString() const {
  char text[INET6_ADDRSTRLEN];
  return inet_ntop(is_v4() ? AF_INET : AF_INET6, bytes_.data(), text, sizeof(text));
}

std::ostream& operator<<(std::ostream& out, const IpAddress& address) {
  return out << address.ToString();
}

}  // namespace sluice
