// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Connections through both proxies: the data, their ends, and the log lines.

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string>
#include <system_error>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/netns/proxy_fixture.h"

namespace sluice::testing_support {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class RelayTest : public ProxyTest {
 protected:
  IpAddress InboundSource() const {
    return IpAddress::Parse(GetParam() == Family::kIpv4 ? "127.0.0.6" : "::6");
  }
};

INSTANTIATE_TEST_SUITE_P(, RelayTest, testing::Values(Family::kIpv4, Family::kIpv6), FamilyName);

TEST_P(RelayTest, CarriesBytesBothWaysAndLogsTheConnectionOnBothSides) {
  StartProxies();
  Acceptor acceptor(server(), GetParam());
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  EXPECT_EQ(pair->server.Remote().ip, InboundSource()) << "captured again otherwise";
  EXPECT_EQ(pair->server.Local(), ServerAt(acceptor.port()));
  EXPECT_TRUE(pair->client.Send("question"));
  EXPECT_EQ(pair->server.Receive(8), "question");
  EXPECT_TRUE(pair->server.Send("the answer"));
  EXPECT_EQ(pair->client.Receive(10), "the answer");
  const SocketAddress client_address = pair->client.Local();
  const SocketAddress inbound_source = pair->server.Remote();
  pair->client.EndSending();
  EXPECT_EQ(pair->server.WaitForEnd(), End::kFin);
  pair->server.Close();
  EXPECT_EQ(pair->client.WaitForEnd(), End::kFin);

  const SocketAddress target = ServerAt(acceptor.port());
  const auto outbound = client_proxy_->LogLineTo(target);
  const auto inbound = server_proxy_->LogLineTo(target);
  EXPECT_EQ(Text(outbound, "upstream_cluster"), "PassthroughCluster");
  EXPECT_EQ(Text(inbound, "upstream_cluster"), "InboundPassthroughCluster");
  EXPECT_EQ(Text(outbound, "downstream_remote_address"), client_address.ToString());
  EXPECT_EQ(Text(outbound, "upstream_local_address"), Text(inbound, "downstream_remote_address"));
  EXPECT_EQ(Text(inbound, "upstream_local_address"), inbound_source.ToString());
  for (const auto& line : {outbound, inbound}) {
    EXPECT_EQ(line.at("bytes_received"), 8);
    EXPECT_EQ(line.at("bytes_sent"), 10);
    EXPECT_EQ(Text(line, "upstream_host"), target.ToString());
    EXPECT_EQ(Text(line, "response_flags"), "-");
    EXPECT_EQ(Text(line, "connection_termination_details"), "-");
    EXPECT_EQ(Text(line, "upstream_transport_failure_reason"), "-");
  }
  EXPECT_EQ(client_proxy_->Metric("istio_tcp_received_bytes_total{reporter=\"source\"}"), 8);
  EXPECT_EQ(client_proxy_->Metric("istio_tcp_sent_bytes_total{reporter=\"source\"}"), 10);
  EXPECT_EQ(server_proxy_->Metric("istio_tcp_connections_opened_total{reporter=\"destination\"}"),
            1);
  EXPECT_EQ(server_proxy_->Metric("istio_tcp_connections_closed_total{reporter=\"destination\"}"),
            1);
  EXPECT_EQ(client_proxy_->Metric("sluice_tcp_connect_duration_seconds_count{reporter=\"source\"}"),
            1);
}

TEST_P(RelayTest, TheServerMaySpeakFirst) {
  StartProxies();
  Acceptor acceptor(server(), GetParam());
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  EXPECT_TRUE(pair->server.Send("220 welcome\r\n"));
  EXPECT_EQ(pair->client.Receive(13), "220 welcome\r\n");
}

TEST_P(RelayTest, AClientThatHasEndedItsSideReadsOn) {
  StartProxies();
  Acceptor acceptor(server(), GetParam());
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  pair->client.Send("all I have");
  pair->client.EndSending();
  End end{};
  EXPECT_EQ(pair->server.ReceiveAll(end), "all I have");
  EXPECT_EQ(end, End::kFin);
  const std::string answer(3'000'000, 'r');
  std::thread writer([&] {
    EXPECT_TRUE(pair->server.Send(answer));
    pair->server.Close();
  });
  const std::string got = pair->client.ReceiveAll(end);
  writer.join();
  EXPECT_EQ(end, End::kFin);
  EXPECT_TRUE(got == answer) << got.size();
}

TEST_P(RelayTest, AServerThatHasEndedItsSideReadsOn) {
  StartProxies();
  Acceptor acceptor(server(), GetParam());
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  pair->server.EndSending();
  EXPECT_EQ(pair->client.WaitForEnd(), End::kFin);
  const std::string request(3'000'000, 'q');
  std::thread writer([&] {
    EXPECT_TRUE(pair->client.Send(request));
    pair->client.Close();
  });
  End end{};
  const std::string got = pair->server.ReceiveAll(end);
  writer.join();
  EXPECT_EQ(end, End::kFin);
  EXPECT_TRUE(got == request) << got.size();
}

TEST_P(RelayTest, ADestinationThatRefusesIsAResetToTheClient) {
  StartProxies();
  std::uint16_t free_port = 0;
  {
    const Acceptor acceptor(server(), GetParam());
    free_port = acceptor.port();
  }
  auto peer = Peer::Connect(client(), ServerAt(free_port));
  // The reset may arrive before the client's connect has returned.
  if (peer) {
    EXPECT_EQ(peer->WaitForEnd(), End::kReset);
  }
  const auto inbound = server_proxy_->LogLineTo(ServerAt(free_port));
  EXPECT_THAT(Text(inbound, "response_flags"), StartsWith("UF"));
  EXPECT_THAT(Text(inbound, "upstream_transport_failure_reason"), HasSubstr("Connection_refused"));
  const auto outbound = client_proxy_->LogLineTo(ServerAt(free_port));
  EXPECT_EQ(Text(outbound, "connection_termination_details"), "upstream_reset");
  EXPECT_EQ(server_proxy_->Metric("sluice_tcp_connections_failed_total{reporter=\"destination\","
                                  "reason=\"connect_refused\"}"),
            1);
}

TEST_P(RelayTest, AResetByTheServerIsAResetToTheClient) {
  StartProxies();
  Acceptor acceptor(server(), GetParam());
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  pair->server.Send("half an ans");
  EXPECT_EQ(pair->client.Receive(11), "half an ans");
  pair->server.Reset();
  EXPECT_EQ(pair->client.WaitForEnd(), End::kReset);
  EXPECT_EQ(
      Text(client_proxy_->LogLineTo(ServerAt(acceptor.port())), "connection_termination_details"),
      "upstream_reset");
}

TEST_P(RelayTest, AResetByTheClientIsAResetToTheServer) {
  StartProxies();
  Acceptor acceptor(server(), GetParam());
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  pair->client.Send("never mi");
  EXPECT_EQ(pair->server.Receive(8), "never mi");
  pair->client.Reset();
  EXPECT_EQ(pair->server.WaitForEnd(), End::kReset);
  EXPECT_EQ(
      Text(server_proxy_->LogLineTo(ServerAt(acceptor.port())), "connection_termination_details"),
      "downstream_reset");
}

TEST_P(RelayTest, WhatAServerSentBeforeItsResetArrivesBeforeTheReset) {
  // The client reads slowly.
  LimitSocketBuffers(client(), 16 * 1024, 16 * 1024);
  StartProxies();
  Acceptor acceptor(server(), GetParam());
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  const std::string answer(100'000, 'a');
  ASSERT_TRUE(pair->server.Send(answer));
  // Its own socket discards unsent data.
  ASSERT_TRUE(Eventually([&] {
    int waiting = 0;
    return ::ioctl(pair->server.fd(), SIOCOUTQ, &waiting) == 0 && waiting == 0;
  }));
  pair->server.Reset();
  End end{};
  EXPECT_EQ(pair->client.ReceiveAll(end).size(), answer.size());
  EXPECT_EQ(end, End::kReset);
  EXPECT_EQ(
      Text(client_proxy_->LogLineTo(ServerAt(acceptor.port())), "connection_termination_details"),
      "upstream_reset");
}

// The relay has bytes for a server that does not read when the client resets: it must not wait for
// the server to read them.
TEST_P(RelayTest, AResetPassesAReceiverThatDoesNotRead) {
  StartProxies();
  Acceptor acceptor(server(), GetParam());
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  const std::string chunk(65536, 'x');
  int sent = 0;
  // Until all buffers on the way are full.
  while (::send(pair->client.fd(), chunk.data(), chunk.size(), MSG_DONTWAIT) > 0 || sent++ < 50) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  pair->client.Reset();
  EXPECT_TRUE(Eventually([&] {
    return server_proxy_->Metric("sluice_tcp_connections_active{reporter=\"destination\"}") == 0;
  }));
  EXPECT_EQ(pair->server.WaitForEnd(), End::kReset);
}

TEST_P(RelayTest, KeepsASilentConnectionAliveTowardsTheApplication) {
  StartProxies();
  Acceptor acceptor(server(), GetParam());
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  const auto sockets = [](const netns::Namespace& where, const SocketAddress& peer) {
    return RunCommand(where,
                      {.argv = {"ss", "-Htno", "state", "established", "dst", peer.ToString()}})
        .out;
  };
  // The client's proxy probes the application (the accepted socket has the client as its peer)...
  const std::string accepted = sockets(client(), pair->client.Local());
  EXPECT_THAT(accepted, testing::ContainsRegex("timer:\\(keepalive,([12]?[0-9]|30)sec"));
  // ...and the server's proxy too, once the connection is some seconds old.
  EXPECT_TRUE(Eventually([&] {
    const std::string upstream = sockets(server(), pair->server.Local());
    return upstream.find("timer:(keepalive,") != std::string::npos;
  }));
}

TEST_P(RelayTest, ReachesAnApplicationThatListensOnLoopbackOnly) {
  StartClientProxy({});
  const bool v4 = GetParam() == Family::kIpv4;
  StartServerProxy({"--inbound-upstream", v4 ? "127.0.0.1" : "::1"});
  Acceptor acceptor(server(), GetParam(), 0, IpAddress::Parse(v4 ? "127.0.0.1" : "::1"));
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  EXPECT_TRUE(pair->client.Send("hello"));
  EXPECT_EQ(pair->server.Receive(5), "hello");
  EXPECT_EQ(pair->server.Remote().ip, InboundSource());
  pair->client.Close();
  pair->server.Close();
  EXPECT_EQ(Text(server_proxy_->LogLineTo(ServerAt(acceptor.port())), "upstream_host"),
            (v4 ? "127.0.0.1:" : "[::1]:") + std::to_string(acceptor.port()));
  EXPECT_TRUE(server_proxy_->process().WaitForText("can be reached from outside", kPatience))
      << "that it opens what listens on loopback is said";
}

TEST_P(RelayTest, CopiesOrSplicesAsTold) {
  for (const std::string splice : {"on", "off"}) {
    StartProxies({"--splice=" + splice});
    Acceptor acceptor(server(), GetParam());
    auto pair = Connected(acceptor);
    ASSERT_TRUE(pair);
    std::string sent;
    // Small ones, and then one larger than the switching thresholds.
    for (const std::size_t size : {1, 1000, 70'000, 5'000'000}) {
      const std::string block(size, static_cast<char>('a' + sent.size() % 26));
      std::thread sender([&] { pair->client.Send(block); });
      EXPECT_TRUE(pair->server.Receive(size) == block) << splice << ' ' << size;
      sender.join();
      pair->server.Send(block);
      EXPECT_TRUE(pair->client.Receive(size) == block) << splice << ' ' << size;
      sent += block;
    }
    pair->client.EndSending();
    EXPECT_EQ(pair->server.WaitForEnd(), End::kFin);
    pair->server.Close();
    EXPECT_EQ(pair->client.WaitForEnd(), End::kFin);
    EXPECT_EQ(client_proxy_->LogLineTo(ServerAt(acceptor.port())).at("bytes_received"),
              sent.size());
    EXPECT_THAT(client_proxy_->Get(15000, "/config_dump").second,
                HasSubstr("\"splice\":\"" + splice + "\""));
    client_proxy_.reset();
    server_proxy_.reset();
  }
}

// One byte of urgent data.
void SendUrgent(const Peer& peer, char byte) {
  EXPECT_EQ(::send(peer.fd(), &byte, 1, MSG_OOB | MSG_NOSIGNAL), 1);
}

// recv(2) stops before urgent data, and splice(2) never gets past it.
TEST_P(RelayTest, UrgentDataInABulkTransferArrivesInItsPlace) {
  for (const std::string splice : {"auto", "on", "off"}) {
    StartProxies({"--splice=" + splice});
    Acceptor acceptor(server(), GetParam());
    auto pair = Connected(acceptor);
    ASSERT_TRUE(pair);
    const std::string before(8'000'000, 'b');
    const std::string after(1'000'000, 'a');
    const auto send = [&](Peer& peer) {
      EXPECT_TRUE(peer.Send(before));
      SendUrgent(peer, '!');
      EXPECT_TRUE(peer.Send(after));
      peer.EndSending();
    };
    for (auto [from, to] :
         {std::pair(&pair->client, &pair->server), {&pair->server, &pair->client}}) {
      std::thread sender([&] { send(*from); });
      End end{};
      const std::string got = to->ReceiveAll(end);
      sender.join();
      EXPECT_EQ(end, End::kFin);
      EXPECT_TRUE(got == before + '!' + after) << splice << ' ' << got.size();
    }
    client_proxy_.reset();
    server_proxy_.reset();
  }
}

TEST_P(RelayTest, UrgentDataInSmallMessagesArrivesInItsPlace) {
  for (const std::string splice : {"auto", "on"}) {
    StartProxies({"--splice=" + splice});
    Acceptor acceptor(server(), GetParam());
    auto pair = Connected(acceptor);
    ASSERT_TRUE(pair);
    for (int i = 0; i < 20; ++i) {
      for (auto [from, to] :
           {std::pair(&pair->client, &pair->server), {&pair->server, &pair->client}}) {
        EXPECT_TRUE(from->Send("before"));
        SendUrgent(*from, '!');
        EXPECT_TRUE(from->Send("after"));
        ASSERT_EQ(to->Receive(12), "before!after") << splice << ' ' << i;
      }
    }
    client_proxy_.reset();
    server_proxy_.reset();
  }
}

int OpenPipes(pid_t pid) {
  int count = 0;
  for (const auto& each :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
    std::error_code closed;
    const auto link = std::filesystem::read_symlink(each.path(), closed).string();
    count += link.starts_with("pipe:") ? 1 : 0;
  }
  return count;
}

// Pipe pages count against a quota of the user id, which all sidecars of a node share.
TEST_P(RelayTest, GivesItsPipesBackWhenItHasGoneQuiet) {
  StartProxies();
  Acceptor acceptor(server(), GetParam());
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  const pid_t pid = client_proxy_->process().pid();
  const int inherited = OpenPipes(pid);  // from whatever runs the test
  const std::string block(1 << 20, 'x');
  for (int round = 0; round < 2; ++round) {
    std::thread sender([&] {
      for (int i = 0; i < 64; ++i) pair->client.Send(block);
    });
    int most = 0;
    for (int i = 0; i < 64; ++i) {
      EXPECT_EQ(pair->server.Receive(block.size()).size(), block.size());
      most = std::max(most, OpenPipes(pid));
    }
    sender.join();
    EXPECT_GT(most, inherited) << "nothing was spliced";
    EXPECT_TRUE(Eventually([&] { return OpenPipes(pid) == inherited; }));
  }
}

}  // namespace
}  // namespace sluice::testing_support
