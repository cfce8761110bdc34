// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <iosfwd>
#include <span>
#include <string>
#include <string_view>

namespace sluice {

enum class Family : std::uint8_t { kIpv4, kIpv6 };

// "IPv4" or "IPv6".
std::string_view Name(Family family);

// 32 or 128.
constexpr int AddressBits(Family family) { return family == Family::kIpv4 ? 32 : 128; }

// An IPv4 or IPv6 address, without a scope. A comparable, printable value; ordered by family, then
// numerically. Bytes are in network byte order.
class IpAddress {
 public:
  // 0.0.0.0
  constexpr IpAddress() = default;

  // `bytes` has 4 or 16 bytes, most significant first.
  static IpAddress FromBytes(std::span<const std::uint8_t> bytes);
  static constexpr IpAddress V4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) {
    IpAddress out;
    out.bytes_ = {a, b, c, d};
    return out;
  }

  // 0.0.0.0 or ::
  static constexpr IpAddress Unspecified(Family family) {
    IpAddress out;
    out.family_ = family;
    return out;
  }

  // Dotted quad or RFC 4291 text, as inet_pton(3) takes it. Throws std::invalid_argument.
  static IpAddress Parse(std::string_view text);

  constexpr Family family() const { return family_; }
  constexpr bool is_v4() const { return family_ == Family::kIpv4; }
  // 4 or 16 bytes, most significant first.
  std::span<const std::uint8_t> bytes() const {
    return std::span(bytes_).first(is_v4() ? 4U : 16U);
  }

  bool IsUnspecified() const;  // 0.0.0.0 or ::
  bool IsLoopback() const;     // 127.0.0.0/8 or ::1 (RFC 1122, RFC 4291)
  bool IsLinkLocal() const;    // 169.254.0.0/16 or fe80::/10
  bool IsMulticast() const;    // 224.0.0.0/4 or ff00::/8

  // ::ffff:a.b.c.d as the IPv4 address a.b.c.d; any other address unchanged.
  IpAddress Unmapped() const;

  // The canonical text: dotted quad, or RFC 5952 as inet_ntop(3) writes it.
  std::string ToString() const;

  friend constexpr auto operator<=>(const IpAddress&, const IpAddress&) = default;

 private:
  Family family_ = Family::kIpv4;
  std::array<std::uint8_t, 16> bytes_{};
};

std::ostream& operator<<(std::ostream& out, const IpAddress& address);

}  // namespace sluice
