// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// What is on the wire between two proxies with mutual TLS: all of it, and no plaintext.
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <sys/socket.h>

#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/unique_fd.h"
#include "test/netns/proxy_mtls_fixture.h"
#include "test/netns/streams.h"

namespace sluice::testing_support {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// What crosses the node, in either direction.
class WireTap {
 public:
  explicit WireTap(const netns::Namespace& node)
      : fd_(CallIn(node, kRoot, [] {
          return UniqueFd(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_ALL)));
        })) {
    const int room = 32 * 1024 * 1024;
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
  }
  // All of it so far, one behind the other. Fails when a packet was missed.
  std::string Seen() {
    std::vector<char> packet(65536);
    while (true) {
      const ssize_t got = ::recv(fd_.get(), packet.data(), packet.size(), MSG_DONTWAIT);
      if (got <= 0) break;
      seen_.append(packet.data(), static_cast<std::size_t>(got));
    }
    tpacket_stats missed{};
    socklen_t size = sizeof(missed);
    EXPECT_EQ(::getsockopt(fd_.get(), SOL_PACKET, PACKET_STATISTICS, &missed, &size), 0);
    EXPECT_EQ(missed.tp_drops, 0U);
    return seen_;
  }

 private:
  UniqueFd fd_;
  std::string seen_;
};

TEST_P(MtlsTest, TwoProxiesLeaveNoPlaintextOnTheWire) {
  StartStrict();
  Acceptor acceptor(server(), GetParam());
  StartOutbound(RuleTo(acceptor.port(), kCart));
  WireTap wire(cluster_->node());
  const std::string request = "the request of the application";
  const std::string response = "the response of the application";
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  ASSERT_TRUE(pair->client.Send(request));
  EXPECT_EQ(pair->server.Receive(request.size()), request);
  ASSERT_TRUE(pair->server.Send(response));
  EXPECT_EQ(pair->client.Receive(response.size()), response);
  // Either end by itself, as without TLS.
  pair->client.EndSending();
  EXPECT_EQ(pair->server.WaitForEnd(), End::kFin);
  pair->server.Send(response);
  EXPECT_EQ(pair->client.Receive(response.size()), response);
  pair->server.Close();
  EXPECT_EQ(pair->client.WaitForEnd(), End::kFin);

  const boost::json::object out = client_proxy_->LogLineTo(ServerAt(acceptor.port()));
  EXPECT_EQ(Text(out, "upstream_peer_uri_san"), kCart);
  EXPECT_EQ(Text(out, "tls_version"), "TLSv1.3");
  EXPECT_EQ(Text(out, "response_flags"), "-");
  const boost::json::object in = server_proxy_->LogLineTo(ServerAt(acceptor.port()));
  EXPECT_EQ(Text(in, "downstream_peer_uri_san"), kTill);
  const std::string seen = wire.Seen();
  EXPECT_GT(seen.size(), 2000U);
  EXPECT_THAT(seen, testing::Not(HasSubstr("of the application")));
}

TEST_P(MtlsTest, CarriesStreamsWhole) {
  StartStrict();
  Acceptor acceptor(server(), GetParam());
  StartOutbound(RuleTo(acceptor.port(), kCart));
  constexpr std::uint64_t kBytes = 4'000'000;
  Transfers transfers(kBytes);
  for (int i = 0; i < 4; ++i) {
    auto pair = Connected(acceptor);
    ASSERT_TRUE(pair);
    if (i % 2 == 0) {
      transfers.Add(std::move(pair->client), std::move(pair->server));
    } else {
      transfers.Add(std::move(pair->server), std::move(pair->client));
    }
  }
  EXPECT_TRUE(transfers.RunToTheEnd());
  EXPECT_EQ(transfers.complete(), 4U);
}

// The rule decides, whatever answers there.
TEST_P(MtlsTest, ARuleMeansTlsOrAReset) {
  StartServerProxy({});
  Acceptor acceptor(server(), GetParam());
  const SocketAddress to = ServerAt(acceptor.port());
  StartOutbound(RuleTo(acceptor.port(), kCart));
  WireTap wire(cluster_->node());
  auto plain = Connected(acceptor);
  ASSERT_TRUE(plain);
  plain->client.Send("the secret");
  // The head of a record of a handshake, and nothing of the application.
  EXPECT_THAT(plain->server.Receive(3), StartsWith("\x16\x03"));
  plain->server.Send("HTTP/1.1 200 OK\r\n\r\n");
  EXPECT_EQ(plain->client.WaitForEnd(), End::kReset);
  const boost::json::object line = client_proxy_->LogLineTo(to);
  EXPECT_EQ(Text(line, "response_flags"), "UF,URX");
  EXPECT_EQ(Text(line, "upstream_transport_failure_reason"),
            "TLS_error:_the_peer_does_not_speak_TLS");
  EXPECT_EQ(Text(line, "connection_termination_details"), "tls_handshake");

  // What is broken changes nothing; what is right does, without a restart.
  till_files_.Write("rules", "nonsense\n");
  ASSERT_TRUE(client_proxy_->process().WaitForText("of before stay", kPatience));
  auto again = Connected(acceptor);
  ASSERT_TRUE(again);
  again->client.Send("the secret");
  EXPECT_THAT(again->server.Receive(3), StartsWith("\x16\x03"));
  again->server.Reset();
  EXPECT_EQ(again->client.WaitForEnd(), End::kReset);
  EXPECT_THAT(wire.Seen(), testing::Not(HasSubstr("the secret")));
  till_files_.Write("rules", "# nobody\n");
  ASSERT_TRUE(client_proxy_->process().WaitForText("new rules of outbound", kPatience));
  auto without = Connected(acceptor);
  ASSERT_TRUE(without);
  without->client.Send("in the open");
  EXPECT_EQ(without->server.Receive(11), "in the open");
}

}  // namespace
}  // namespace sluice::testing_support
