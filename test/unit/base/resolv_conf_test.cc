// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/os/resolv_conf.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace sluice {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;

std::vector<std::string> Servers(std::string_view text) {
  std::vector<std::string> out;
  for (const Nameserver& resolver : ParseResolvConf(text).nameservers) {
    out.push_back(resolver.address.ToString() + resolver.scope);
  }
  return out;
}

TEST(ResolvConf, ReadsWhatKubernetesWrites) {
  const ResolvConf conf = ParseResolvConf(
      "search default.svc.cluster.local svc.cluster.local cluster.local\n"
      "nameserver 10.96.0.10\n"
      "nameserver fd00:10:96::a\n"
      "options ndots:5 timeout:3 attempts:4\n");
  ASSERT_EQ(conf.nameservers.size(), 2U);
  EXPECT_EQ(conf.nameservers[0].address.ToString(), "10.96.0.10:53");
  EXPECT_EQ(conf.nameservers[1].address.ToString(), "[fd00:10:96::a]:53");
  EXPECT_EQ(conf.timeout, seconds(3));
  EXPECT_EQ(conf.attempts, 4);
}

TEST(ResolvConf, IsTolerant) {
  EXPECT_THAT(Servers("# nameserver 192.0.2.1\n; nameserver 192.0.2.2\n"
                      "\t nameserver\t192.0.2.3  # trailing\r\n"
                      "nameserver\nnameserver dns.example\nnameservers 192.0.2.4\n"
                      "nameserver 10.96.0\nNAMESERVER 10.96.0.10\n"
                      "nameserver 192.0.2.5%eth0\n"
                      "nameserver fe80::1%eth0\n"
                      "nameserver 192.0.2.6"),
              ElementsAre("192.0.2.3:53", "[fe80::1]:53eth0", "192.0.2.6:53"));
  EXPECT_EQ(ParseResolvConf(""), ResolvConf{});
  std::string many;
  for (int i = 0; i < 100; ++i) many += "nameserver 192.0.2.1\n";
  EXPECT_EQ(Servers(many).size(), 8U);
}

TEST(ResolvConf, BoundsItsOptions) {
  const auto timeout = [](const std::string& value) {
    return ParseResolvConf("options timeout:" + value).timeout;
  };
  EXPECT_EQ(timeout("0"), seconds(1));
  EXPECT_EQ(timeout("31"), seconds(30));
  EXPECT_EQ(timeout("99999999999999999999"), seconds(30));
  EXPECT_EQ(timeout("-1"), seconds(2));
  EXPECT_EQ(timeout(""), seconds(2));
  EXPECT_EQ(timeout("x"), seconds(2));
  EXPECT_EQ(ParseResolvConf("options attempts:0").attempts, 1);
  EXPECT_EQ(ParseResolvConf("options attempts:6").attempts, 5);
  EXPECT_EQ(ParseResolvConf("options attempts:x").attempts, 2);
}

TEST(ResolvConf, SaysWhatItCouldNotRead) {
  try {
    ReadResolvConf("/nonexistent/resolv.conf");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.text().target, "/nonexistent/resolv.conf");
    EXPECT_EQ(error.text().why, "No such file or directory");
  }
}

}  // namespace
}  // namespace sluice
