// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "verify/packet_frame.h"

#include <linux/if_ether.h>

#include <algorithm>
#include <stdexcept>

namespace sluice::verify {
namespace {

using Bytes = std::vector<std::uint8_t>;
using capture::Protocol;

constexpr std::size_t kEthernetHeader = 14;
constexpr std::size_t kIpv4Header = 20;  // without options
constexpr std::size_t kIpv6Header = 40;
constexpr std::size_t kTcpHeader = 20;  // without options
constexpr std::size_t kUdpHeader = 8;
constexpr std::uint8_t kHopLimit = 64;    // Linux's default
constexpr std::uint16_t kWindow = 65535;  // the maximum without scaling
constexpr std::uint16_t kDontFragment = 1 << 14;
constexpr std::uint16_t kFragmentBits = 0x3fff;  // the offset, and "more fragments"

constexpr std::uint8_t kFin = 1, kSyn = 2, kRst = 4, kPsh = 8, kAck = 16;

void Put16(Bytes& out, std::uint16_t value) {
  out.push_back(static_cast<std::uint8_t>(value >> 8));
  out.push_back(static_cast<std::uint8_t>(value & 0xff));
}

void Put32(Bytes& out, std::uint32_t value) {
  Put16(out, static_cast<std::uint16_t>(value >> 16));
  Put16(out, static_cast<std::uint16_t>(value & 0xffff));
}

void PutBytes(Bytes& out, std::span<const std::uint8_t> bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}

void Patch16(Bytes& out, std::size_t at, std::uint16_t value) {
  out[at] = static_cast<std::uint8_t>(value >> 8);
  out[at + 1] = static_cast<std::uint8_t>(value & 0xff);
}

std::uint16_t Get16(std::span<const std::uint8_t> bytes, std::size_t at) {
  return static_cast<std::uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}

std::uint32_t Get32(std::span<const std::uint8_t> bytes, std::size_t at) {
  return static_cast<std::uint32_t>(Get16(bytes, at)) << 16 | Get16(bytes, at + 2);
}

std::uint8_t Flags(const Segment& segment) {
  unsigned out = 0;
  if (segment.fin) out |= kFin;
  if (segment.syn) out |= kSyn;
  if (segment.rst) out |= kRst;
  if (segment.ack) out |= kAck;
  if (!segment.payload.empty()) out |= kPsh;
  return static_cast<std::uint8_t>(out);
}

// The sum of the pseudo header: addresses, length, protocol (RFC 9293, 3.1; RFC 8200, 8.1).
std::uint32_t PseudoHeaderSum(const Segment& segment, std::size_t length) {
  Bytes bytes;
  PutBytes(bytes, segment.source.ip.bytes());
  PutBytes(bytes, segment.destination.ip.bytes());
  std::uint32_t sum =
      static_cast<std::uint32_t>(length) + static_cast<std::uint8_t>(segment.protocol);
  for (std::size_t i = 0; i < bytes.size(); i += 2) sum += Get16(bytes, i);
  return sum;
}

Bytes BuildTransport(const Segment& segment) {
  Bytes out;
  Put16(out, segment.source.port);
  Put16(out, segment.destination.port);
  const bool tcp = segment.protocol == capture::Protocol::kTcp;
  if (tcp) {
    Put32(out, segment.sequence);
    Put32(out, segment.acknowledgement);
    out.push_back(static_cast<std::uint8_t>(kTcpHeader / 4 << 4));
    out.push_back(Flags(segment));
    Put16(out, kWindow);
    Put16(out, 0);  // checksum
    Put16(out, 0);  // urgent pointer
  } else {
    Put16(out, static_cast<std::uint16_t>(kUdpHeader + segment.payload.size()));
    Put16(out, 0);
  }
  out.insert(out.end(), segment.payload.begin(), segment.payload.end());
  std::uint16_t sum = InternetChecksum(out, PseudoHeaderSum(segment, out.size()));
  if (!tcp && sum == 0) sum = 0xffff;  // in UDP, 0 means "no checksum"
  Patch16(out, tcp ? 16 : 6, sum);
  return out;
}

void PutIpv4Header(Bytes& out, const Segment& segment, std::size_t length) {
  const std::size_t start = out.size();
  out.push_back(0x45);  // version 4, five words
  out.push_back(0);
  Put16(out, static_cast<std::uint16_t>(kIpv4Header + length));
  Put16(out, 0);
  Put16(out, kDontFragment);
  out.push_back(kHopLimit);
  out.push_back(static_cast<std::uint8_t>(segment.protocol));
  Put16(out, 0);
  PutBytes(out, segment.source.ip.bytes());
  PutBytes(out, segment.destination.ip.bytes());
  Patch16(out, start + 10, InternetChecksum(std::span(out).subspan(start)));
}

void PutIpv6Header(Bytes& out, const Segment& segment, std::size_t length) {
  Put32(out, 6U << 28);
  Put16(out, static_cast<std::uint16_t>(length));
  out.push_back(static_cast<std::uint8_t>(segment.protocol));
  out.push_back(kHopLimit);
  PutBytes(out, segment.source.ip.bytes());
  PutBytes(out, segment.destination.ip.bytes());
}

std::optional<capture::Protocol> ToProtocol(std::uint8_t number) {
  if (number == static_cast<std::uint8_t>(capture::Protocol::kTcp)) return capture::Protocol::kTcp;
  if (number == static_cast<std::uint8_t>(capture::Protocol::kUdp)) return capture::Protocol::kUdp;
  return std::nullopt;
}

// Reads the IP header into `out`; returns the payload, or nothing.
std::optional<std::span<const std::uint8_t>> ParseIpv4(std::span<const std::uint8_t> packet,
                                                       Segment& out) {
  if (packet.size() < kIpv4Header || packet[0] >> 4 != 4) return std::nullopt;
  const std::size_t header = (packet[0] & 0xfU) * 4U;
  const std::size_t length = Get16(packet, 2);
  if (header < kIpv4Header || length < header || length > packet.size()) return std::nullopt;
  const auto protocol = ToProtocol(packet[9]);
  if (!protocol || (Get16(packet, 6) & kFragmentBits) != 0) return std::nullopt;
  out.protocol = *protocol;
  out.source.ip = IpAddress::FromBytes(packet.subspan(12, 4));
  out.destination.ip = IpAddress::FromBytes(packet.subspan(16, 4));
  return packet.subspan(header, length - header);
}

std::optional<std::span<const std::uint8_t>> ParseIpv6(std::span<const std::uint8_t> packet,
                                                       Segment& out) {
  if (packet.size() < kIpv6Header || packet[0] >> 4 != 6) return std::nullopt;
  const std::size_t length = Get16(packet, 4);
  const auto protocol = ToProtocol(packet[6]);
  if (!protocol || length > packet.size() - kIpv6Header) return std::nullopt;
  out.protocol = *protocol;
  out.source.ip = IpAddress::FromBytes(packet.subspan(8, 16));
  out.destination.ip = IpAddress::FromBytes(packet.subspan(24, 16));
  return packet.subspan(kIpv6Header, length);
}

bool ParseTransport(std::span<const std::uint8_t> bytes, Segment& out) {
  const bool tcp = out.protocol == capture::Protocol::kTcp;
  if (bytes.size() < (tcp ? kTcpHeader : kUdpHeader)) return false;
  out.source.port = Get16(bytes, 0);
  out.destination.port = Get16(bytes, 2);
  std::size_t header = kUdpHeader;
  if (tcp) {
    out.sequence = Get32(bytes, 4);
    out.acknowledgement = Get32(bytes, 8);
    header = static_cast<std::size_t>(bytes[12] >> 4) * 4;
    if (header < kTcpHeader || header > bytes.size()) return false;
    const std::uint8_t flags = bytes[13];
    out.fin = (flags & kFin) != 0;
    out.syn = (flags & kSyn) != 0;
    out.rst = (flags & kRst) != 0;
    out.ack = (flags & kAck) != 0;
  } else {
    const std::size_t length = Get16(bytes, 4);
    if (length < kUdpHeader || length > bytes.size()) return false;
    bytes = bytes.first(length);
  }
  const auto payload = bytes.subspan(header);
  out.payload.assign(payload.begin(), payload.end());
  return true;
}

}  // namespace

std::uint16_t InternetChecksum(std::span<const std::uint8_t> bytes, std::uint32_t sum) {
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) sum += Get16(bytes, i);
  // An odd byte is padded with a zero.
  if (bytes.size() % 2 != 0) sum += static_cast<std::uint32_t>(bytes.back()) << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum & 0xffff);
}

std::vector<std::uint8_t> BuildFrame(const Segment& segment, const MacAddress& from,
                                     const MacAddress& to) {
  if (segment.payload.size() > kMaxPayload) throw std::invalid_argument("a payload of one packet");
  const bool v4 = segment.destination.ip.is_v4();
  Bytes out;
  PutBytes(out, to);
  PutBytes(out, from);
  Put16(out, v4 ? ETH_P_IP : ETH_P_IPV6);
  const Bytes transport = BuildTransport(segment);
  v4 ? PutIpv4Header(out, segment, transport.size())
     : PutIpv6Header(out, segment, transport.size());
  PutBytes(out, transport);
  return out;
}

std::optional<Segment> ParseFrame(std::span<const std::uint8_t> frame) {
  if (frame.size() < kEthernetHeader) return std::nullopt;
  const auto packet = frame.subspan(kEthernetHeader);
  Segment out;
  std::optional<std::span<const std::uint8_t>> transport;
  const std::uint16_t type = Get16(frame, 12);
  if (type == ETH_P_IP) transport = ParseIpv4(packet, out);
  if (type == ETH_P_IPV6) transport = ParseIpv6(packet, out);
  if (!transport || !ParseTransport(*transport, out)) return std::nullopt;
  return out;
}

Segment ResetFor(const Segment& received) {
  Segment out;
  out.source = received.destination;
  out.destination = received.source;
  out.acknowledgement = received.sequence + 1;  // a SYN counts as one
  out.rst = true;
  out.ack = true;
  return out;
}

}  // namespace sluice::verify
