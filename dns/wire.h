// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>

#include "dns/message.h"

namespace sluice::dns {

// Big-endian numbers in DNS messages. The caller must have checked the bounds.

inline std::uint16_t GetDns16(DnsView bytes, std::size_t at) {
  return static_cast<std::uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}

inline std::uint32_t GetDns32(DnsView bytes, std::size_t at) {
  return static_cast<std::uint32_t>(GetDns16(bytes, at)) << 16 | GetDns16(bytes, at + 2);
}

inline void SetDns16(std::span<std::uint8_t> bytes, std::size_t at, std::uint16_t value) {
  bytes[at] = static_cast<std::uint8_t>(value >> 8);
  bytes[at + 1] = static_cast<std::uint8_t>(value & 0xff);
}

inline void SetDns32(std::span<std::uint8_t> bytes, std::size_t at, std::uint32_t value) {
  SetDns16(bytes, at, static_cast<std::uint16_t>(value >> 16));
  SetDns16(bytes, at + 2, static_cast<std::uint16_t>(value & 0xffff));
}

// The first kDnsHeaderBytes of a message.
inline DnsHeader GetDnsHeader(DnsView bytes) {
  return {GetDns16(bytes, 0), GetDns16(bytes, 2), GetDns16(bytes, 4),
          GetDns16(bytes, 6), GetDns16(bytes, 8), GetDns16(bytes, 10)};
}

inline void SetDnsHeader(std::span<std::uint8_t> bytes, const DnsHeader& header) {
  SetDns16(bytes, 0, header.id);
  SetDns16(bytes, 2, header.flags);
  SetDns16(bytes, 4, header.questions);
  SetDns16(bytes, 6, header.answers);
  SetDns16(bytes, 8, header.authorities);
  SetDns16(bytes, 10, header.additionals);
}

}  // namespace sluice::dns
