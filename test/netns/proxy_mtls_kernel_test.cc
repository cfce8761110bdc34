// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Mutual TLS whose records are the kernel's (kTLS), if it can do that; test/vm has such a kernel.
#include <fstream>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/netns/proxy_mtls_fixture.h"
#include "test/support/in_namespace.h"

namespace sluice::testing_support {
namespace {

using testing::HasSubstr;

class MtlsKernelTest : public MtlsTest {
 protected:
  // TlsTxSw and TlsRxSw: for how many connections of the namespace the kernel was given keys. 0
  // when it does not have it.
  static int GivenKeys(const netns::Namespace& where) {
    return CallIn(where, kRoot, [] {
      std::ifstream file("/proc/thread-self/net/tls_stat");
      int sum = 0;
      std::string name;
      int value = 0;
      while (file >> name >> value) {
        if (name == "TlsTxSw" || name == "TlsRxSw") sum += value;
      }
      return sum;
    });
  }
  // Send buffers of TCP of 64 KiB at most.
  static void SmallBuffers(const netns::Namespace& where) {
    EXPECT_TRUE(CallIn(where, kRoot, [] {
      std::ofstream wmem("/proc/sys/net/ipv4/tcp_wmem");
      wmem << "4096 16384 65536" << std::flush;
      std::ofstream rmem("/proc/sys/net/ipv4/tcp_rmem");
      rmem << "4096 65536 65536" << std::flush;
      return wmem.good() && rmem.good();
    }));
  }

  const bool has_kernel_ = std::ifstream("/proc/net/tls_stat").good();
};

INSTANTIATE_TEST_SUITE_P(, MtlsKernelTest, testing::Values(Family::kIpv4, Family::kIpv6),
                         FamilyName);

TEST_P(MtlsKernelTest, GivesTheKeysToAKernelThatTakesThem) {
  for (const bool off : {false, true}) {
    StartStrict({off ? "--ktls=off" : "--ktls=auto"});
    Acceptor acceptor(server(), GetParam());
    StartOutbound(RuleTo(acceptor.port(), kCart), {off ? "--ktls=off" : "--ktls=auto"});
    const bool used = has_kernel_ && !off;
    for (ProxyProcess* const proxy : {&*server_proxy_, &*client_proxy_}) {
      EXPECT_THAT(proxy->process().Err(),
                  HasSubstr(used  ? "kTLS: the kernel encrypts and decrypts"
                            : off ? "no kTLS: --ktls off"
                                  : "no kTLS: the module tls is not loaded"));
      EXPECT_EQ(proxy->Metric("sluice_mtls_ktls"), used ? 1 : 0);
    }
    // Starting has tried it.
    const int at_server = GivenKeys(server());
    const int at_client = GivenKeys(client());
    auto pair = Connected(acceptor);
    ASSERT_TRUE(pair);
    ASSERT_TRUE(pair->client.Send("hello"));
    EXPECT_EQ(pair->server.Receive(5), "hello");
    // Either end by itself.
    pair->client.EndSending();
    EXPECT_EQ(pair->server.WaitForEnd(), End::kFin);
    ASSERT_TRUE(pair->server.Send("good day"));
    EXPECT_EQ(pair->client.Receive(8), "good day");
    pair->server.Close();
    EXPECT_EQ(pair->client.WaitForEnd(), End::kFin);
    // A direction each.
    EXPECT_EQ(GivenKeys(server()) - at_server, used ? 2 : 0);
    EXPECT_EQ(GivenKeys(client()) - at_client, used ? 2 : 0);
    const boost::json::object in = server_proxy_->LogLineTo(ServerAt(acceptor.port()));
    EXPECT_EQ(Text(in, "downstream_peer_uri_san"), kTill);
    EXPECT_EQ(Text(in, "tls_version"), "TLSv1.3");
    EXPECT_EQ(Text(in, "response_flags"), "-");
    const boost::json::object out = client_proxy_->LogLineTo(ServerAt(acceptor.port()));
    EXPECT_EQ(Text(out, "upstream_peer_uri_san"), kCart);
    EXPECT_EQ(Text(out, "response_flags"), "-");
    client_proxy_.reset();
    server_proxy_.reset();
  }
}

// The server's proxy closes its connection when all is in the socket, and nothing of it is lost.
TEST_P(MtlsKernelTest, ALateReaderGetsAllBytes) {
  SmallBuffers(client());
  SmallBuffers(server());
  StartStrict();
  Acceptor acceptor(server(), GetParam());
  StartOutbound(RuleTo(acceptor.port(), kCart));
  std::string answer(1'500'000, '\0');
  for (std::size_t i = 0; i < answer.size(); ++i) answer[i] = static_cast<char>(i * 7 + i / 1000);
  for (int i = 0; i < 3; ++i) {
    auto pair = Connected(acceptor);
    ASSERT_TRUE(pair);
    ASSERT_TRUE(pair->client.Send("hello"));
    pair->client.EndSending();
    EXPECT_EQ(pair->server.WaitForEnd(), End::kFin);
    std::thread sender([&] {
      EXPECT_TRUE(pair->server.Send(answer));
      pair->server.Close();
    });
    // Nobody has read anything when the client's proxy stops reading.
    EXPECT_EQ(pair->client.Receive(1), answer.substr(0, 1));
    End end{};
    const std::string rest = pair->client.ReceiveAll(end);
    sender.join();
    EXPECT_EQ(end, End::kFin);
    EXPECT_EQ(rest.size(), answer.size() - 1);
    EXPECT_TRUE(rest == answer.substr(1));
  }
}

// A server that resets its connection behind its answer: that arrives, and then the reset.
TEST_P(MtlsKernelTest, WhatCameBeforeAResetArrives) {
  SmallBuffers(client());
  SmallBuffers(server());
  StartStrict();
  Acceptor acceptor(server(), GetParam());
  StartOutbound(RuleTo(acceptor.port(), kCart));
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  ASSERT_TRUE(pair->client.Send("hello"));
  EXPECT_EQ(pair->server.Receive(5), "hello");
  const std::string answer(20'000, 'a');
  ASSERT_TRUE(pair->server.Send(answer));
  ASSERT_TRUE(Eventually([&] {
    return server_proxy_->Metric(R"(istio_tcp_sent_bytes_total{reporter="destination",)"
                                 R"(connection_security_policy="mutual_tls"})") >= 20'000;
  }));
  pair->server.Reset();
  End end{};
  EXPECT_EQ(pair->client.ReceiveAll(end), answer);
  EXPECT_EQ(end, End::kReset);
}

}  // namespace
}  // namespace sluice::testing_support
