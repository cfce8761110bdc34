// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/socket_address.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(SocketAddress, WritesV6InBrackets) {
  EXPECT_EQ((SocketAddress{IpAddress::V4(192, 0, 2, 1), 80}).ToString(), "192.0.2.1:80");
  EXPECT_EQ((SocketAddress{IpAddress::Parse("::1"), 80}).ToString(), "[::1]:80");
}

TEST(SocketAddress, RoundTripsThroughTheKernelsForm) {
  for (const char* ip : {"192.0.2.1", "2001:db8::1"}) {
    const SocketAddress address{IpAddress::Parse(ip), 15001};
    sockaddr_storage storage;
    ToSockaddr(address, storage);
    EXPECT_EQ(FromSockaddr(storage), address);
  }
  sockaddr_storage storage;
  EXPECT_EQ(ToSockaddr({IpAddress(), 1}, storage), sizeof(sockaddr_in));
  EXPECT_EQ(ToSockaddr({IpAddress::Parse("::"), 1}, storage), sizeof(sockaddr_in6));
}

TEST(SocketAddress, UnmapsV4) {
  sockaddr_storage storage;
  ToSockaddr({IpAddress::Parse("::ffff:192.0.2.1"), 7}, storage);
  EXPECT_EQ(FromSockaddr(storage), (SocketAddress{IpAddress::V4(192, 0, 2, 1), 7}));
}

}  // namespace
}  // namespace sluice
