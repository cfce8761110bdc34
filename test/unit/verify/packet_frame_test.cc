// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "verify/packet_frame.h"

#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::verify {
namespace {

using capture::Protocol;
using Bytes = std::vector<std::uint8_t>;

constexpr MacAddress kFrom = {2, 0, 0, 0, 0, 1};
constexpr MacAddress kTo = {2, 0, 0, 0, 0, 2};
constexpr std::size_t kEthernet = 14;

Segment Syn(const char* from, const char* to) {
  Segment out;
  out.source = {IpAddress::Parse(from), 40000};
  out.destination = {IpAddress::Parse(to), 15002};
  out.sequence = 0x01020304;
  out.syn = true;
  return out;
}

// A receiver's sum over the transport part and the pseudo header: 0 if it is correct.
std::uint16_t ReceivedSum(const Bytes& frame, bool v4, capture::Protocol protocol) {
  const std::size_t header = kEthernet + (v4 ? 20U : 40U);
  const std::size_t addresses = kEthernet + (v4 ? 12U : 8U);
  Bytes pseudo(frame.begin() + static_cast<std::ptrdiff_t>(addresses),
               frame.begin() + static_cast<std::ptrdiff_t>(header));
  const std::size_t length = frame.size() - header;
  pseudo.push_back(0);
  pseudo.push_back(static_cast<std::uint8_t>(protocol));
  pseudo.push_back(static_cast<std::uint8_t>(length >> 8));
  pseudo.push_back(static_cast<std::uint8_t>(length & 0xff));
  pseudo.insert(pseudo.end(), frame.begin() + static_cast<std::ptrdiff_t>(header), frame.end());
  return InternetChecksum(pseudo);
}

TEST(InternetChecksumTest, ExampleOfRfc1071) {
  // RFC 1071, section 3: these words sum to ddf2.
  const Bytes bytes = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  EXPECT_EQ(InternetChecksum(bytes), static_cast<std::uint16_t>(~0xddf2));
}

TEST(InternetChecksumTest, Ipv4HeaderOfWikipedia) {
  // The well-known example: 4500 0073 0000 4000 4011 .... c0a8 0001 c0a8 00c7 has b861.
  const Bytes header = {0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11,
                        0x00, 0x00, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7};
  EXPECT_EQ(InternetChecksum(header), 0xb861);
}

TEST(InternetChecksumTest, OddByteCountsAsIfAZeroFollowed) {
  EXPECT_EQ(InternetChecksum(Bytes{0x12, 0x34, 0x56}),
            InternetChecksum(Bytes{0x12, 0x34, 0x56, 0}));
}

TEST(PacketFrameTest, LayoutOfAnIpv4Syn) {
  const Bytes frame = BuildFrame(Syn("198.18.0.2", "198.18.0.1"), kFrom, kTo);
  ASSERT_EQ(frame.size(), kEthernet + 40);
  EXPECT_EQ(Bytes(frame.begin(), frame.begin() + 14),
            (Bytes{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00}));
  EXPECT_EQ(InternetChecksum(std::span(frame).subspan(kEthernet, 20)), 0) << "of the IP header";
  EXPECT_EQ(frame[kEthernet + 16], 198) << "the destination comes last";
  EXPECT_EQ(frame[kEthernet + 20 + 13], 0x02) << "SYN and nothing else";
  EXPECT_EQ(ReceivedSum(frame, true, capture::Protocol::kTcp), 0);
}

TEST(PacketFrameTest, ChecksumsAreRightInBothFamiliesAndProtocols) {
  for (const auto& [from, to] :
       {std::pair("198.18.0.2", "10.1.2.3"), std::pair("2001:2::2", "fd00::1")}) {
    for (const capture::Protocol protocol : {capture::Protocol::kTcp, capture::Protocol::kUdp}) {
      for (const std::size_t length : {0U, 1U, 2U, 63U, 1200U}) {
        Segment segment = Syn(from, to);
        segment.protocol = protocol;
        segment.payload.resize(length);
        std::iota(segment.payload.begin(), segment.payload.end(), '\x70');
        const Bytes frame = BuildFrame(segment, kFrom, kTo);
        EXPECT_EQ(ReceivedSum(frame, segment.source.ip.is_v4(), protocol), 0)
            << from << ' ' << Name(protocol) << ' ' << length;
      }
    }
  }
}

TEST(PacketFrameTest, WhatIsBuiltIsReadBack) {
  Segment tcp = Syn("2001:2::2", "2001:2::1");
  tcp.ack = true;
  tcp.acknowledgement = 0xfffffffe;
  tcp.payload = "token";
  EXPECT_EQ(ParseFrame(BuildFrame(tcp, kFrom, kTo)), tcp);
  Segment udp;
  udp.protocol = capture::Protocol::kUdp;
  udp.source = {IpAddress::Parse("198.18.0.2"), 53};
  udp.destination = {IpAddress::Parse("198.18.0.1"), 65535};
  udp.payload = "answer";
  EXPECT_EQ(ParseFrame(BuildFrame(udp, kFrom, kTo)), udp);
}

TEST(PacketFrameTest, FrameThatIsCutOffIsNoSegment) {
  for (const auto& [from, to] :
       {std::pair("198.18.0.2", "198.18.0.1"), std::pair("2001:2::2", "2001:2::1")}) {
    for (const capture::Protocol protocol : {capture::Protocol::kTcp, capture::Protocol::kUdp}) {
      Segment segment = Syn(from, to);
      segment.protocol = protocol;
      segment.payload = "0123456789";
      const Bytes frame = BuildFrame(segment, kFrom, kTo);
      for (std::size_t length = 0; length < frame.size(); ++length) {
        // A copy of exactly that size, so that a sanitizer detects reads beyond its end.
        const Bytes part(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(length));
        EXPECT_EQ(ParseFrame(part), std::nullopt) << length;
      }
    }
  }
}

TEST(PacketFrameTest, PaddingBehindThePacketIsNoPayload) {
  Bytes frame = BuildFrame(Syn("198.18.0.2", "198.18.0.1"), kFrom, kTo);
  frame.resize(60);  // the shortest Ethernet frame
  ASSERT_TRUE(ParseFrame(frame));
  EXPECT_EQ(ParseFrame(frame)->payload, "");
}

TEST(PacketFrameTest, LiesAboutLengthsAreNoSegment) {
  const Bytes good = BuildFrame(Syn("198.18.0.2", "198.18.0.1"), kFrom, kTo);
  const auto with = [&](std::size_t at, std::uint8_t value) {
    Bytes frame = good;
    frame[at] = value;
    return ParseFrame(frame);
  };
  EXPECT_TRUE(with(kEthernet + 8, 1)) << "a time to live is of no interest";
  EXPECT_FALSE(with(12, 0x86)) << "not IP";
  EXPECT_FALSE(with(kEthernet, 0x44)) << "an IP header of 16 bytes";
  EXPECT_FALSE(with(kEthernet, 0x4f)) << "an IP header of 60 bytes, longer than the packet";
  EXPECT_FALSE(with(kEthernet, 0x65)) << "version 6 in an IPv4 frame";
  EXPECT_FALSE(with(kEthernet + 3, 41)) << "a packet longer than its frame";
  EXPECT_FALSE(with(kEthernet + 7, 1)) << "a fragment";
  EXPECT_FALSE(with(kEthernet + 9, 1)) << "ICMP";
  EXPECT_FALSE(with(kEthernet + 20 + 12, 0x40)) << "a TCP header of 16 bytes";
  EXPECT_FALSE(with(kEthernet + 20 + 12, 0xf0)) << "a TCP header of 60 bytes";
}

TEST(PacketFrameTest, ResetAnswersASyn) {
  const Segment reset = ResetFor(Syn("198.18.0.2", "198.18.0.1"));
  EXPECT_TRUE(reset.rst && reset.ack && !reset.syn);
  EXPECT_EQ(reset.acknowledgement, 0x01020305U);
  EXPECT_EQ(reset.destination.ToString(), "198.18.0.2:40000");
  EXPECT_EQ(reset.source.ToString(), "198.18.0.1:15002");
}

}  // namespace
}  // namespace sluice::verify
