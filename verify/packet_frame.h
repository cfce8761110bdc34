// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/socket_address.h"
#include "capture/rule.h"

// Ethernet frames with a TCP segment or a UDP datagram, built and parsed by hand: for the simulated
// outside world of --run-validation (RFC 791, 8200, 768, 9293). Pure.
namespace sluice::verify {

using MacAddress = std::array<std::uint8_t, 6>;

// The relevant parts of a frame. Ports are in host byte order; both addresses are of one family.
struct Segment {
  capture::Protocol protocol = capture::Protocol::kTcp;
  SocketAddress source;
  SocketAddress destination;
  // TCP only.
  std::uint32_t sequence = 0;
  std::uint32_t acknowledgement = 0;
  bool syn = false;
  bool ack = false;
  bool fin = false;
  bool rst = false;
  std::string payload = {};

  friend bool operator==(const Segment&, const Segment&) = default;
};

// A frame with `segment` and correct checksums. The payload must fit into one packet: at most
// kMaxPayload bytes.
std::vector<std::uint8_t> BuildFrame(const Segment& segment, const MacAddress& from,
                                     const MacAddress& to);
inline constexpr std::size_t kMaxPayload = 1200;  // the smallest MTU of IPv6 is 1280

// Parses `frame`; nothing for anything but a complete TCP or UDP packet: another protocol, a
// fragment, an extension header, a truncated frame. Any bytes are safe. Checksums are not verified:
// frames that the kernel sends over a veth do not have them yet.
std::optional<Segment> ParseFrame(std::span<const std::uint8_t> frame);

// RFC 1071, for bytes whose sum so far (not folded) is `sum`.
std::uint16_t InternetChecksum(std::span<const std::uint8_t> bytes, std::uint32_t sum = 0);

// The reset by which a host refuses `received`, a SYN (RFC 9293, 3.5.2).
Segment ResetFor(const Segment& received);

}  // namespace sluice::verify
