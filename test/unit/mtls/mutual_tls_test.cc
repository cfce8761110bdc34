// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/mtls/mutual_tls.h"

#include <chrono>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "test/unit/mtls/credential_directory.h"

namespace sluice::proxy {
namespace {

using tls::CredentialDirectory;
using tls::Workload;

constexpr const char* kCart = "spiffe://cluster.local/ns/shop/sa/cart";
constexpr const char* kTill = "spiffe://cluster.local/ns/shop/sa/till";

class MutualTlsTest : public testing::Test {
 protected:
  MtlsConfig Config() const {
    return {.credentials = {.directory = directory_.path(), .bundles = {}}};
  }

  const tls::TestIdentity root_ = tls::Issue(tls::ValidToday(tls::TestCa("root")));
  const tls::TestIdentity cart_ = tls::Issue(Workload(kCart), &root_);
  const tls::TestIdentity till_ = tls::Issue(Workload(kTill), &root_);
  const CredentialDirectory directory_{cart_, root_.Pem()};
};

TEST_F(MutualTlsTest, LoadsWhatHasChanged) {
  MutualTls mtls(Config());
  const auto before = mtls.Context();
  EXPECT_EQ(before->credentials().id().ToString(), kCart);
  mtls.Look();
  EXPECT_EQ(mtls.Context(), before);
  directory_.Put(till_, root_.Pem());
  mtls.Look();
  EXPECT_EQ(mtls.Context()->credentials().id().ToString(), kTill);
  EXPECT_EQ(before->credentials().id().ToString(), kCart) << "for those who have it";
  EXPECT_EQ(mtls.facts().credentials.reloads, 1U);
  EXPECT_EQ(mtls.facts().credentials.failed, 0U);
}

TEST_F(MutualTlsTest, IsToldWhenFilesChange) {
  MutualTls mtls(Config());
  mtls.Start();
  // Also one that was written between the reading and the watching.
  for (const auto* next : {&till_, &cart_, &till_}) {
    directory_.Put(*next, root_.Pem());
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    const std::string name = next == &till_ ? kTill : kCart;
    while (mtls.Context()->credentials().id().ToString() != name) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << name;
      std::this_thread::yield();
    }
  }
}

TEST_F(MutualTlsTest, KeepsWhatItHasWhenTheNewFilesAreBroken) {
  MutualTls mtls(Config());
  const auto before = mtls.Context();
  directory_.Write("key.pem", till_.KeyPem());
  mtls.Look();
  EXPECT_EQ(mtls.facts().credentials.failed, 0U) << "the other file may be on its way";
  for (int i = 0; i < 3; ++i) mtls.Look();
  EXPECT_EQ(mtls.Context(), before);
  EXPECT_EQ(mtls.facts().credentials.failed, 1U) << "counted once";
  directory_.Write("cert-chain.pem", till_.Pem());
  mtls.Look();
  EXPECT_EQ(mtls.Context()->credentials().id().ToString(), kTill);
  std::filesystem::remove(directory_.File("key.pem"));
  for (int i = 0; i < 2; ++i) mtls.Look();
  EXPECT_EQ(mtls.Context()->credentials().id().ToString(), kTill);
  EXPECT_EQ(mtls.facts().credentials.failed, 2U);
}

TEST_F(MutualTlsTest, HasToHaveSomethingToStartWith) {
  MtlsConfig config = Config();
  config.credentials.directory += "/nothing";
  EXPECT_THROW(MutualTls{config}, Error);
}

TEST_F(MutualTlsTest, AsksNothingOfPlaintextPorts) {
  MtlsConfig config = Config();
  config.inbound = MtlsInbound::kStrict;
  config.inbound_plaintext_ports = {{8081, 8081}, {9000, 9010}};
  const MutualTls mtls(config);
  EXPECT_EQ(mtls.Inbound(8080), MtlsInbound::kStrict);
  EXPECT_EQ(mtls.Inbound(8081), MtlsInbound::kOff);
  EXPECT_EQ(mtls.Inbound(9010), MtlsInbound::kOff);
  EXPECT_EQ(mtls.Inbound(9011), MtlsInbound::kStrict);
}

TEST_F(MutualTlsTest, KeepsTheRulesOfBeforeWhenTheNewOnesAreBroken) {
  MtlsConfig config = Config();
  config.outbound_file = directory_.File("rules");
  EXPECT_THROW(MutualTls{config}, Error) << "there is no file";
  directory_.Write("rules", "10.0.0.1 80 spiffe://cluster.local/ns/shop/sa/cart\n");
  MutualTls mtls(config);
  const SocketAddress one{IpAddress::Parse("10.0.0.1"), 80};
  const SocketAddress two{IpAddress::Parse("10.0.0.2"), 80};
  EXPECT_NE(mtls.Expected(one), nullptr);
  EXPECT_EQ(mtls.Expected(two), nullptr);
  directory_.Write("rules", "10.0.0.2 80 spiffe://cluster.local/ns/shop/sa/cart\n10.0.0.1 80\n");
  for (int i = 0; i < 3; ++i) mtls.Look();
  EXPECT_NE(mtls.Expected(one), nullptr);
  EXPECT_EQ(mtls.Expected(two), nullptr);
  EXPECT_EQ(mtls.facts().outbound.failed, 1U);
  directory_.Write("rules", "10.0.0.2 80 spiffe://cluster.local/ns/shop/sa/cart\n");
  mtls.Look();
  EXPECT_EQ(mtls.Expected(one), nullptr);
  EXPECT_NE(mtls.Expected(two), nullptr);
  EXPECT_EQ(mtls.facts().outbound.reloads, 1U);
  std::filesystem::remove(directory_.File("rules"));
  for (int i = 0; i < 2; ++i) mtls.Look();
  EXPECT_NE(mtls.Expected(two), nullptr) << "a file that is gone is no permission";
  EXPECT_EQ(mtls.facts().credentials.failed, 0U);
}

}  // namespace
}  // namespace sluice::proxy
