// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/accept/destination.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace sluice::proxy {
namespace {

const std::vector<std::uint16_t> kOwnPorts = {15001, 15006};
const std::vector<IpAddress> kLocal = {IpAddress::V4(10, 0, 0, 7), IpAddress::Parse("fd00::7")};

struct Case {
  std::string description;
  std::optional<SocketAddress> original;
  SocketAddress accepted_on;
  Admission admission;
};

SocketAddress At(const char* ip, std::uint16_t port) { return {IpAddress::Parse(ip), port}; }

TEST(Destination, AdmitsWhatWasRedirectedFromElsewhere) {
  const Case cases[] = {
      {"another host", At("203.0.113.9", 443), At("127.0.0.1", 15001), Admission::kRelay},
      {"another host, IPv6", At("2001:db8::1", 443), At("::1", 15001), Admission::kRelay},
      {"our own address, the application's port", At("10.0.0.7", 8080), At("10.0.0.7", 15006),
       Admission::kRelay},
      {"another host that has the same port", At("10.0.0.8", 15001), At("127.0.0.1", 15001),
       Admission::kRelay},
      {"conntrack knows nothing", std::nullopt, At("10.0.0.7", 15001), Admission::kNotRedirected},
      {"the proxy itself was meant", At("10.0.0.7", 15001), At("10.0.0.7", 15001),
       Admission::kNotRedirected},
      {"through the other listener to ourselves", At("10.0.0.7", 15001), At("10.0.0.7", 15006),
       Admission::kLoop},
      {"the inbound port, by way of itself", At("10.0.0.7", 15006), At("127.0.0.1", 15006),
       Admission::kLoop},
      {"IPv6", At("fd00::7", 15006), At("::1", 15001), Admission::kLoop},
      {"loopback is local without being listed", At("127.9.9.9", 15001), At("127.0.0.1", 15006),
       Admission::kLoop},
      {"so is the unspecified address", At("0.0.0.0", 15001), At("127.0.0.1", 15006),
       Admission::kLoop},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(
        AdmissionOf({.original = c.original, .accepted_on = c.accepted_on}, kOwnPorts, kLocal),
        c.admission)
        << c.description;
  }
}

// Questions that are not asked must not need an answer.
TEST(Destination, RelaysWhateverNeedsNoJudgement) {
  EXPECT_FALSE(NeedsJudgement(At("10.0.0.7", 8080), kOwnPorts));
  EXPECT_EQ(AdmissionOf({.original = At("10.0.0.7", 8080), .accepted_on = At("10.0.0.7", 15006)},
                        kOwnPorts, kLocal),
            Admission::kRelay);
  EXPECT_TRUE(NeedsJudgement(At("10.0.0.7", 15006), kOwnPorts));
  EXPECT_TRUE(NeedsJudgement(std::nullopt, kOwnPorts));
}

}  // namespace
}  // namespace sluice::proxy
