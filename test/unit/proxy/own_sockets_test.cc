// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/accept/own_sockets.h"

#include <memory>
#include <string_view>

#include <gtest/gtest.h>

namespace sluice::proxy {
namespace {

SocketAddress At(std::string_view ip, std::uint16_t port) { return {IpAddress::Parse(ip), port}; }

TEST(OwnSockets, KnowsBothAddressesOfWhatWasAdded) {
  const auto sockets = std::make_unique<OwnSockets>();
  for (const char* const ip : {"10.0.0.1", "fd00::1", "::6"}) {
    const SocketAddress local = At(ip, 40000);
    const SocketAddress remote = At("10.96.0.10", 80);
    EXPECT_FALSE(sockets->Contains(local, remote));
    sockets->Add(local, remote);
    EXPECT_TRUE(sockets->Contains(local, remote));
    // An application's connections may share one of the two.
    EXPECT_FALSE(sockets->Contains(local, At("10.96.0.10", 81)));
    EXPECT_FALSE(sockets->Contains(local, At("10.96.0.11", 80)));
    EXPECT_FALSE(sockets->Contains(At(ip, 40001), remote));
    EXPECT_FALSE(sockets->Contains(remote, local));
    sockets->Remove(local, remote);
    EXPECT_FALSE(sockets->Contains(local, remote));
  }
}

TEST(OwnSockets, AFreePlaceIsNobody) {
  const auto sockets = std::make_unique<OwnSockets>();
  EXPECT_FALSE(sockets->Contains({}, {}));
}

// More than there are places: whatever was forgotten, what was added last is known, and nobody
// else is taken for one of ours.
TEST(OwnSockets, ForgetsAndNeverConfuses) {
  const auto sockets = std::make_unique<OwnSockets>();
  const SocketAddress remote = At("10.96.0.10", 80);
  for (std::uint16_t port = 1; port < 60'000; ++port) {
    sockets->Add(At("10.0.0.1", port), remote);
    EXPECT_TRUE(sockets->Contains(At("10.0.0.1", port), remote));
    EXPECT_FALSE(sockets->Contains(At("10.0.0.2", port), remote));
  }
  // Of somebody who took its place nothing is removed.
  for (std::uint16_t port = 1; port < 59'999; ++port) {
    sockets->Remove(At("10.0.0.1", port), remote);
  }
  EXPECT_TRUE(sockets->Contains(At("10.0.0.1", 59'999), remote));
}

}  // namespace
}  // namespace sluice::proxy
