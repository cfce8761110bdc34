// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Mutual TLS together with what else the proxy does.
#include <linux/capability.h>

#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/netns/proxy_mtls_fixture.h"
#include "test/netns/streams.h"

namespace sluice::testing_support {
namespace {

using testing::HasSubstr;

class MtlsModesTest : public MtlsTest {
 protected:
  // One message each way.
  static void ExpectTalk(Pair& pair) {
    ASSERT_TRUE(pair.client.Send("hello"));
    EXPECT_EQ(pair.server.Receive(5), "hello");
    ASSERT_TRUE(pair.server.Send("good day"));
    EXPECT_EQ(pair.client.Receive(8), "good day");
  }
  static void EndBoth(Pair& pair) {
    pair.client.Close();
    pair.server.Close();
  }
};

INSTANTIATE_TEST_SUITE_P(, MtlsModesTest, testing::Values(Family::kIpv4, Family::kIpv6),
                         FamilyName);

TEST_P(MtlsModesTest, HandsOverWithoutACut) {
  StartStrict({"--drain-duration=60s"});
  Acceptor acceptor(server(), GetParam());
  StartOutbound(RuleTo(acceptor.port(), kCart));
  auto before = Connected(acceptor);
  ASSERT_TRUE(before);
  ExpectTalk(*before);
  ProxyProcess next(
      server(), {"--mtls-credentials=" + cart_files_.path(), "--mtls-inbound=strict",
                 "--mtls-allow=spiffe://cluster.local/ns/shop/sa/*", "--hand-over", "--stop-old"});
  ASSERT_TRUE(next.process().WaitForText("which drains", kPatience)) << next.process().Err();
  auto after = Connected(acceptor);
  ASSERT_TRUE(after);
  ExpectTalk(*after);
  // The session's keys are in the old one, which goes on with it.
  ExpectTalk(*before);
  EndBoth(*before);
  EndBoth(*after);
  const CommandResult old = server_proxy_->process().Wait(kPatience);
  EXPECT_FALSE(old.timed_out);
  EXPECT_EQ(old.exit_status, 0) << old.err;
  // Whoever accepted it.
  std::vector<boost::json::object> lines = server_proxy_->Log();
  const std::size_t of_old = lines.size();
  EXPECT_GE(of_old, 1U);
  ASSERT_TRUE(Eventually([&] { return of_old + next.Log().size() == 2; })) << old.out;
  for (const boost::json::object& line : next.Log()) lines.push_back(line);
  for (const boost::json::object& line : lines) {
    EXPECT_EQ(Text(line, "downstream_peer_uri_san"), kTill);
    EXPECT_EQ(Text(line, "response_flags"), "-");
  }
}

TEST_P(MtlsModesTest, DrainsWithNothingLost) {
  StartStrict({"--drain-duration=60s"});
  Acceptor acceptor(server(), GetParam());
  StartOutbound(RuleTo(acceptor.port(), kCart), {"--drain-duration=60s"});
  constexpr std::uint64_t kBytes = 2'000'000;
  constexpr std::size_t kStreams = 6;
  Transfers transfers(kBytes);
  for (std::size_t i = 0; i < kStreams; ++i) {
    auto pair = Connected(acceptor);
    ASSERT_TRUE(pair);
    if (i % 2 == 0) {
      transfers.Add(std::move(pair->client), std::move(pair->server));
    } else {
      transfers.Add(std::move(pair->server), std::move(pair->client));
    }
  }
  EXPECT_TRUE(transfers.RunIntoTheMiddle(kStreams * kBytes / 8));
  for (ProxyProcess* proxy : {client_proxy_.get(), server_proxy_.get()}) {
    proxy->process().Signal(SIGTERM);
  }
  EXPECT_TRUE(transfers.RunToTheEnd());
  EXPECT_EQ(transfers.complete(), kStreams);
  for (ProxyProcess* proxy : {client_proxy_.get(), server_proxy_.get()}) {
    const CommandResult result = proxy->process().Wait(kPatience);
    EXPECT_EQ(result.exit_status, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr("drained"));
  }
}

TEST_P(MtlsModesTest, RefusesMoreConnectionsThanAllowed) {
  StartStrict({"--max-connections=2"});
  Acceptor acceptor(server(), GetParam());
  StartOutbound(RuleTo(acceptor.port(), kCart));
  auto first = Connected(acceptor);
  ASSERT_TRUE(first);
  ExpectTalk(*first);
  auto second = Connected(acceptor);
  ASSERT_TRUE(second);
  ExpectTalk(*second);
  auto third = Peer::Connect(client(), ServerAt(acceptor.port()));
  ASSERT_TRUE(third);
  EXPECT_EQ(third->WaitForEnd(), End::kReset);
  const auto line = server_proxy_->LogLineTo(ServerAt(acceptor.port()));
  EXPECT_EQ(Text(line, "response_flags"), "UO");
  EXPECT_FALSE(IsReached(acceptor));
  // The others are fine, and a freed place is used again.
  ExpectTalk(*first);
  EndBoth(*second);
  ASSERT_TRUE(Eventually([&] {
    return server_proxy_->Metric("sluice_tcp_connections_active{reporter=\"destination\"}") == 1;
  }));
  auto next = Connected(acceptor);
  ASSERT_TRUE(next);
  ExpectTalk(*next);
}

// Clients that begin a handshake and go no further keep nobody else out.
TEST_P(MtlsModesTest, TheOldestUnfinishedHandshakeMakesRoom) {
  // Twenty may wait.
  StartStrict({"--max-connections=40", "--concurrency=1", "--connect-timeout=5m"});
  Acceptor acceptor(server(), GetParam());
  std::vector<Peer> half_open;
  for (int i = 0; i < 25; ++i) {
    auto peer = Peer::Connect(client(), ServerAt(acceptor.port()), kProxy);
    ASSERT_TRUE(peer);
    // The beginning of a ClientHello.
    peer->Send(std::string("\x16\x03\x01\x00\xf0\x01", 6));
    half_open.push_back(std::move(*peer));
  }
  EXPECT_EQ(half_open.front().WaitForEnd(), End::kReset);
  const auto line = server_proxy_->LogLineTo(ServerAt(acceptor.port()));
  EXPECT_EQ(Text(line, "response_flags"), "UO");
  EXPECT_EQ(Text(line, "connection_termination_details"), "pending_limit");
  EXPECT_FALSE(IsReached(acceptor));
  EXPECT_THAT(Served(acceptor, till_files_), HasSubstr("welcome"));
}

// A limit so low that half of it is one: two may wait, but not keep another one out.
TEST_P(MtlsModesTest, TwoUnfinishedHandshakesDoNotFillTwoPlaces) {
  StartStrict({"--max-connections=2", "--concurrency=1", "--connect-timeout=5m"});
  Acceptor acceptor(server(), GetParam());
  std::vector<Peer> half_open;
  for (int i = 0; i < 2; ++i) {
    auto peer = Peer::Connect(client(), ServerAt(acceptor.port()), kProxy);
    ASSERT_TRUE(peer);
    peer->Send(std::string("\x16\x03\x01\x00\xf0\x01", 6));
    half_open.push_back(std::move(*peer));
  }
  ASSERT_TRUE(Eventually([&] {
    return server_proxy_->Metric("sluice_tcp_connections_active{reporter=\"destination\"}") == 2;
  }));
  EXPECT_THAT(Served(acceptor, till_files_), HasSubstr("welcome"));
  EXPECT_EQ(half_open.front().WaitForEnd(), End::kReset);
  const auto line = server_proxy_->LogLineTo(ServerAt(acceptor.port()));
  EXPECT_EQ(Text(line, "response_flags"), "UO");
  EXPECT_EQ(Text(line, "connection_termination_details"), "pending_limit");
}

TEST_P(MtlsModesTest, TproxyKeepsTheClientsAddress) {
  const CommandResult init = RunCommand(
      server(), {.argv = {ProgramPath("sluice-init"), "-p", "15001", "-z", "15006", "-u", "1337",
                          "-m", "TPROXY", "-i", "*", "-x", "", "-b", "*", "-d", "15090,15020"}});
  ASSERT_EQ(init.exit_status, 0) << init.err;
  StartServerProxy({"--mtls-credentials=" + cart_files_.path(), "--mtls-inbound=strict",
                    std::string("--mtls-allow=") + kTill, "--mode=TPROXY"},
                   {.capabilities = std::vector<int>{CAP_NET_ADMIN}});
  Acceptor acceptor(server(), GetParam());
  StartOutbound(RuleTo(acceptor.port(), kCart));
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair) << server_proxy_->process().Err();
  EXPECT_EQ(pair->server.Remote().ip, Cluster::PodIp(0, GetParam()));
  EXPECT_EQ(pair->server.Local(), ServerAt(acceptor.port()));
  ExpectTalk(*pair);
  pair->client.Close();
  EXPECT_EQ(pair->server.WaitForEnd(), End::kFin);
  pair->server.Close();
  const auto line = server_proxy_->LogLineTo(ServerAt(acceptor.port()));
  EXPECT_EQ(Text(line, "downstream_peer_uri_san"), kTill);
}

TEST_P(MtlsModesTest, TellsTheClientsAddressByTheProxyProtocol) {
  StartStrict({"--inbound-proxy-protocol"});
  Acceptor acceptor(server(), GetParam());
  StartOutbound(RuleTo(acceptor.port(), kCart));
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  const bool v4 = GetParam() == Family::kIpv4;
  std::string expected("\r\n\r\n\0\r\nQUIT\n\x21", 13);
  expected += v4 ? std::string("\x11\0\x0c", 3) : std::string("\x21\0\x24", 3);
  for (const IpAddress& address : {Cluster::PodIp(0, GetParam()), Cluster::PodIp(1, GetParam())}) {
    const auto bytes = address.bytes();
    expected.append(bytes.begin(), bytes.end());
  }
  EXPECT_EQ(pair->server.Receive(expected.size()), expected) << "before the client has spoken";
  // The ports: that of the client's proxy, and the application's.
  EXPECT_EQ(pair->server.Receive(4).substr(2),
            std::string({static_cast<char>(acceptor.port() >> 8),
                         static_cast<char>(acceptor.port() & 0xff)}));
  ExpectTalk(*pair);
}

}  // namespace
}  // namespace sluice::testing_support
