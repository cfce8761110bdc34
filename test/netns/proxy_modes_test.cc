// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// What the application learns about the client, and the log about the application.

#include <linux/capability.h>

#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "netns/sysctl.h"
#include "test/netns/proxy_fixture.h"
#include "test/netns/short_connections.h"

namespace sluice::testing_support {
namespace {

using testing::HasSubstr;
using testing::Not;

class ModesTest : public ProxyTest {
 protected:
  // One request over its own connection, answered and closed.
  void Exchange(Acceptor& acceptor, const std::string& request, const std::string& response) {
    auto pair = Connected(acceptor);
    ASSERT_TRUE(pair);
    pair->client.Send(request);
    EXPECT_EQ(pair->server.Receive(request.size()), request);
    pair->server.Send(response);
    pair->server.Close();
    End end{};
    EXPECT_EQ(pair->client.ReceiveAll(end), response);
  }
};

INSTANTIATE_TEST_SUITE_P(, ModesTest, testing::Values(Family::kIpv4, Family::kIpv6), FamilyName);

TEST_P(ModesTest, LogsWhatIsSpoken) {
  StartClientProxy({});
  StartServerProxy({"--sniff=off"});
  Acceptor acceptor(server(), GetParam());
  const std::string request =
      "GET /index.html?q=1 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: test/1\r\n\r\n";
  Exchange(acceptor, request, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
  const auto seen = client_proxy_->LogLineTo(ServerAt(acceptor.port()));
  EXPECT_EQ(Text(seen, "method"), "GET");
  EXPECT_EQ(Text(seen, "path"), "/index.html?q=1");
  EXPECT_EQ(Text(seen, "authority"), "shop.example");
  EXPECT_EQ(Text(seen, "user_agent"), "test/1");
  EXPECT_EQ(Text(seen, "protocol"), "HTTP/1.1");
  EXPECT_EQ(seen.at("response_code"), 404);
  const auto unseen = server_proxy_->LogLineTo(ServerAt(acceptor.port()));
  EXPECT_EQ(Text(unseen, "method"), "-");
  EXPECT_EQ(unseen.at("response_code"), 0);
}

TEST_P(ModesTest, TellsTheClientsAddressByTheProxyProtocol) {
  StartServerProxy({"--inbound-proxy-protocol"});
  Acceptor acceptor(server(), GetParam());
  // From the node, so that the client's own address arrives.
  auto client = Peer::Connect(cluster_->node(), ServerAt(acceptor.port()));
  ASSERT_TRUE(client);
  auto application = acceptor.Accept();
  ASSERT_TRUE(application);
  const bool v4 = GetParam() == Family::kIpv4;
  std::string expected("\r\n\r\n\0\r\nQUIT\n\x21", 13);
  expected += v4 ? std::string("\x11\0\x0c", 3) : std::string("\x21\0\x24", 3);
  for (const SocketAddress& address : {client->Local(), ServerAt(acceptor.port())}) {
    const auto bytes = address.ip.bytes();
    expected.append(bytes.begin(), bytes.end());
  }
  for (const SocketAddress& address : {client->Local(), ServerAt(acceptor.port())}) {
    expected += static_cast<char>(address.port >> 8);
    expected += static_cast<char>(address.port & 0xff);
  }
  EXPECT_EQ(application->Receive(expected.size()), expected) << "before the client has spoken";
  client->Send("hello");
  EXPECT_EQ(application->Receive(5), "hello");
  client->Close();
  application->Close();
  EXPECT_EQ(server_proxy_->LogLineTo(ServerAt(acceptor.port())).at("bytes_received"), 5)
      << "the header is not the client's";
}

class TproxyMarkTest : public ModesTest {
 protected:
  void ConnectsFromTheClientsAddress(const std::string& mark);
};

INSTANTIATE_TEST_SUITE_P(, TproxyMarkTest, testing::Values(Family::kIpv4, Family::kIpv6),
                         FamilyName);

void TproxyMarkTest::ConnectsFromTheClientsAddress(const std::string& mark) {
  const CommandResult init = RunCommand(
      server(),
      {.argv = {ProgramPath("sluice-init"), "-p", "15001", "-z", "15006", "-u", "1337", "-m",
                "TPROXY", "-t", mark, "-i", "*", "-x", "", "-b", "*", "-d", "15090,15020"}});
  ASSERT_EQ(init.exit_status, 0) << init.err;
  StartServerProxy({"--mode=TPROXY", "--tproxy-mark=" + mark, "--max-connections=50"},
                   {.capabilities = std::vector<int>{CAP_NET_ADMIN}});
  Acceptor acceptor(server(), GetParam());
  auto client = Peer::Connect(cluster_->node(), ServerAt(acceptor.port()));
  ASSERT_TRUE(client);
  auto application = acceptor.Accept();
  ASSERT_TRUE(application) << server_proxy_->process().Out();
  EXPECT_EQ(application->Remote().ip, client->Local().ip);
  EXPECT_EQ(application->Local(), ServerAt(acceptor.port()));
  client->Send("hello");
  EXPECT_EQ(application->Receive(5), "hello");
  application->Send("good day");
  EXPECT_EQ(client->Receive(8), "good day");
  EXPECT_EQ(server_proxy_->Metric("istio_tcp_connections_opened_total{reporter=\"destination\"}"),
            1)
      << "not captured twice";
}

TEST_P(TproxyMarkTest, TproxyKeepsTheClientsAddress) { ConnectsFromTheClientsAddress("1337"); }

TEST_P(TproxyMarkTest, TheMarkMayBeAnother) { ConnectsFromTheClientsAddress("4660"); }

// SYNs that were sent again in a namespace, because nobody answered.
int SynRetransmits(const netns::Namespace& where) {
  const CommandResult shown = RunCommand(where, {.argv = {"cat", "/proc/net/netstat"}});
  std::istringstream lines(shown.out);
  std::string names;
  std::string values;
  while (std::getline(lines, names) && std::getline(lines, values)) {
    std::istringstream name_words(names);
    std::istringstream value_words(values);
    std::string name;
    std::string value;
    while (name_words >> name && value_words >> value) {
      if (name == "TCPSynRetrans") return std::stoi(value);
    }
  }
  ADD_FAILURE() << "no TCPSynRetrans in " << shown.out;
  return -1;
}

// The client's kernel and that of the pod choose ports from the same range. If the proxy took them,
// too, for what it connects from the client's address, one connection would be taken for another.
TEST_P(TproxyMarkTest, TproxyKeepsTheClientsPortsFree) {
  for (const netns::Namespace* const where : {&cluster_->node(), &server()}) {
    RunIn(*where, kRoot, [] { netns::WriteSysctl("ipv4/ip_local_port_range", "40000 40999"); });
  }
  const CommandResult init = RunCommand(
      server(),
      {.argv = {ProgramPath("sluice-init"), "-u", "1337", "-m", "TPROXY", "-i", "*", "-b", "*"}});
  ASSERT_EQ(init.exit_status, 0) << init.err;
  StartServerProxy({"--mode=TPROXY"}, {.capabilities = std::vector<int>{CAP_NET_ADMIN}});
  const EchoServer echo(server(), GetParam());
  constexpr std::uint64_t kCount = 900;
  ShortConnections load(cluster_->node(), {ServerAt(echo.ports().front())}, 8, kCount);
  EXPECT_TRUE(Eventually([&] { return load.done(); }));
  EXPECT_EQ(load.served(), kCount);
  EXPECT_EQ(load.refused() + load.lost(), 0U);
  EXPECT_EQ(SynRetransmits(cluster_->node()), 0);
  EXPECT_EQ(SynRetransmits(server()), 0);
  EXPECT_THAT(server_proxy_->process().Err(), Not(HasSubstr("ip_local_port_range")));
}

// The widest range leaves the kernel to choose; that works, and is said.
TEST_P(TproxyMarkTest, TproxySaysThatNoPortsAreLeft) {
  RunIn(server(), kRoot, [] { netns::WriteSysctl("ipv4/ip_local_port_range", "1024 65535"); });
  ConnectsFromTheClientsAddress("1337");
  EXPECT_THAT(server_proxy_->process().Err(),
              HasSubstr("net.ipv4.ip_local_port_range is 1024 to 65535 in this pod"));
}

TEST_P(ModesTest, TproxySaysWhichCapabilityIsMissing) {
  const CommandResult result =
      RunCommand(server(), {.argv = {ProgramPath("sluice-proxy"), "--mode=TPROXY"},
                            .who = kProxy,
                            .timeout = std::chrono::seconds(60)});
  EXPECT_EQ(result.exit_status, 3);
  EXPECT_THAT(result.err, HasSubstr("CAP_NET_ADMIN"));
}

TEST_P(ModesTest, AdminShowsTheConnectionsAndDrains) {
  StartProxies({"--idle-timeout=7m"});
  Acceptor acceptor(server(), GetParam());
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  pair->client.Send("hello");
  EXPECT_EQ(pair->server.Receive(5), "hello");
  const auto shown = client_proxy_->Get(15000, "/connections");
  ASSERT_EQ(shown.first, 200);
  const auto connections =
      boost::json::parse(shown.second).as_object().at("connections").as_array();
  ASSERT_EQ(connections.size(), 1U) << shown.second;
  const auto& connection = connections.front().as_object();
  EXPECT_EQ(Text(connection, "direction"), "outbound");
  EXPECT_EQ(Text(connection, "state"), "relaying");
  EXPECT_EQ(Text(connection, "downstream_remote_address"), pair->client.Local().ToString());
  EXPECT_EQ(Text(connection, "upstream_host"), ServerAt(acceptor.port()).ToString());
  EXPECT_EQ(connection.at("bytes_received"), 5);

  EXPECT_THAT(client_proxy_->Get(15000, "/config_dump").second,
              HasSubstr("\"idle_timeout_ms\":420000"));
  EXPECT_THAT(client_proxy_->Get(15000, "/stats").second,
              HasSubstr("sluice_tcp_connections_active{reporter=\"source\"} 1"));
  EXPECT_EQ(client_proxy_->Get(15000, "/logging").second, "info\n");
  EXPECT_EQ(client_proxy_->Get(15000, "/logging?level=debug").first, 405);
  EXPECT_EQ(client_proxy_->Get(15000, "/nothing").first, 404);
  EXPECT_EQ(client_proxy_->Get(15000, "/logging?level=debug", "POST").second, "debug\n");
  EXPECT_EQ(client_proxy_->Get(15000, "/logging?level=loud", "POST").first, 400);

  // Neither from outside, nor through the proxy.
  EXPECT_FALSE(Peer::Connect(client(), {Cluster::PodIp(0, GetParam()), 15000}));
  auto intruder = Peer::Connect(client(), ServerAt(15000));
  if (intruder) {
    EXPECT_EQ(intruder->WaitForEnd(), End::kReset);
  }

  EXPECT_EQ(client_proxy_->Get(15000, "/drain").first, 405);
  EXPECT_EQ(client_proxy_->Get(15000, "/drain", "POST").first, 200);
  EXPECT_TRUE(Eventually([&] { return client_proxy_->Get(15020, "/healthz/ready").first == 503; }));
  EXPECT_EQ(client_proxy_->Get(15000, "/drain", "POST").first, 200) << "it drains already";
  EXPECT_TRUE(pair->server.Send("still"));
  EXPECT_EQ(pair->client.Receive(5), "still");
  pair->client.Close();
  pair->server.Close();
  EXPECT_EQ(client_proxy_->process().Wait(kPatience).exit_status, 0);
}

}  // namespace
}  // namespace sluice::testing_support
