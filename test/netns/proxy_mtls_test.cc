// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Who is let in by mutual TLS: another proxy, OpenSSL's own programs, and curl.
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/netns/proxy_mtls_fixture.h"
#include "test/netns/short_connections.h"
#include "test/netns/streams.h"

namespace sluice::testing_support {
namespace {

using testing::HasSubstr;

INSTANTIATE_TEST_SUITE_P(, MtlsTest, testing::Values(Family::kIpv4, Family::kIpv6), FamilyName);

TEST_P(MtlsTest, LetsInWhoIsAllowed) {
  StartStrict();
  Acceptor acceptor(server(), GetParam());
  const std::string out = Served(acceptor, till_files_);
  EXPECT_THAT(out, HasSubstr("welcome"));
  EXPECT_THAT(out, HasSubstr("ALPN protocol: istio"));
  EXPECT_THAT(out, HasSubstr("Verification: OK"));
  const boost::json::object line = server_proxy_->LogLineTo(ServerAt(acceptor.port()));
  EXPECT_EQ(Text(line, "downstream_peer_uri_san"), kTill);
  EXPECT_EQ(Text(line, "tls_version"), "TLSv1.3");
  EXPECT_EQ(Text(line, "response_flags"), "-");
  EXPECT_EQ(line.at("bytes_received").to_number<int>(), 6);
  EXPECT_GT(server_proxy_->Metric("sluice_mtls_certificate_expiry_timestamp_seconds"), 0);
}

TEST_P(MtlsTest, ResetsEverybodyElse) {
  StartStrict();
  Acceptor acceptor(server(), GetParam());
  auto plain = Peer::Connect(client(), ServerAt(acceptor.port()), kProxy);
  ASSERT_TRUE(plain);
  plain->Send("GET / HTTP/1.1\r\nHost: cart\r\n\r\n");
  EXPECT_EQ(plain->WaitForEnd(), End::kReset);
  const boost::json::object line = FailureLine("the_peer_does_not_speak_TLS");
  EXPECT_EQ(Text(line, "response_flags"), "NR");
  EXPECT_EQ(Text(line, "upstream_host"), "-");

  Process nobody = Client(acceptor.port(), std::nullopt);
  nobody.Wait(kPatience);
  EXPECT_THAT(Text(FailureLine("peer_did_not_return_a_certificate"), "response_flags"), "-");

  const TestIdentity other_root = tls::Issue(tls::ValidToday(tls::TestCa("root")));
  const CredentialDirectory forged(tls::Issue(Workload(kTill), &other_root), root_.Pem());
  Process forger = Client(acceptor.port(), forged.path());
  EXPECT_THAT(forger.Wait(kPatience).out, testing::Not(HasSubstr("welcome")));
  FailureLine("the_peer's_certificate:");

  const CredentialDirectory bank(
      tls::Issue(Workload("spiffe://cluster.local/ns/bank/sa/till"), &root_), root_.Pem());
  Process stranger = Client(acceptor.port(), bank.path());
  EXPECT_THAT(stranger.Wait(kPatience).out, testing::Not(HasSubstr("welcome")));
  FailureLine("the_peer_is_spiffe://cluster.local/ns/bank/sa/till,_which_is_not_allowed");

  EXPECT_FALSE(IsReached(acceptor));
  EXPECT_EQ(
      server_proxy_->Metric(
          R"(sluice_tcp_connections_failed_total{reporter="destination",reason="tls_handshake"})"),
      4);
}

TEST_P(MtlsTest, RotatesCredentialsUnderConnections) {
  StartStrict();
  Acceptor acceptor(server(), GetParam());
  Process before = Client(acceptor.port(), till_files_.path());
  std::optional<Peer> peer = acceptor.Accept();
  ASSERT_TRUE(peer);
  ASSERT_EQ(peer->Receive(6), "hello\n");

  // A broken one first: it is said, and what was there goes on.
  cart_files_.Write("key.pem", till_.KeyPem());
  ASSERT_TRUE(server_proxy_->process().WaitForText("the credentials of before stay", kPatience));
  EXPECT_EQ(server_proxy_->Metric(R"(sluice_mtls_reload_failures_total{files="credentials"})"), 1);
  EXPECT_THAT(Served(acceptor, till_files_), HasSubstr(cart_.Pem()));

  const TestIdentity next = tls::Issue(Workload(kCart), &root_);
  cart_files_.Put(next, root_.Pem());
  ASSERT_TRUE(server_proxy_->process().WaitForText("new credentials", kPatience));
  EXPECT_THAT(Served(acceptor, till_files_), HasSubstr(next.Pem()));

  peer->Send("still here\n");
  peer->Close();
  EXPECT_THAT(before.Wait(kPatience).out, HasSubstr("still here"));
}

TEST_P(MtlsTest, RotatesCredentialsUnderLoad) {
  StartStrict();
  const EchoServer echo(server(), GetParam());
  const std::uint16_t port = echo.ports().front();
  StartOutbound(RuleTo(port, kCart));
  ShortConnections load(client(), {ServerAt(port)}, 8);
  const auto serves = [&] {
    return Eventually([&, enough = load.served() + 50] { return load.served() >= enough; });
  };
  ASSERT_TRUE(serves());
  // Another key at one end, at the other, and then another authority at both: its root comes first.
  const TestIdentity other_root = tls::Issue(tls::ValidToday(tls::TestCa("other")));
  const std::string roots = root_.Pem() + other_root.Pem();
  struct Step {
    const TestIdentity* root;
    std::string roots;
  };
  const Step steps[] = {{&root_, root_.Pem()},
                        {&root_, roots},
                        {&other_root, roots},
                        {&other_root, other_root.Pem()}};
  double loaded = 0;
  for (const Step& step : steps) {
    ++loaded;
    for (const bool is_server : {true, false}) {
      const auto& files = is_server ? cart_files_ : till_files_;
      ProxyProcess& proxy = is_server ? *server_proxy_ : *client_proxy_;
      const TestIdentity next = tls::Issue(Workload(is_server ? kCart : kTill), step.root);
      files.Put(next, step.roots);
      ASSERT_TRUE(Eventually([&] {
        return proxy.Metric(R"(sluice_mtls_reloads_total{files="credentials"})") >= loaded;
      })) << proxy.process().Err();
      ASSERT_TRUE(serves());
    }
  }
  load.Stop();
  EXPECT_EQ(load.refused() + load.lost(), 0U);
  // Of all that was served, nothing in plaintext, and nothing failed on the way.
  EXPECT_EQ(server_proxy_->Metric("sluice_mtls_permitted_plaintext_total"), 0);
  for (const boost::json::object& line : server_proxy_->Log()) {
    EXPECT_EQ(Text(line, "response_flags"), "-");
    EXPECT_EQ(Text(line, "downstream_peer_uri_san"), kTill);
  }
}

// What a client sends first.
std::string ClientHello() {
  const std::unique_ptr<SSL_CTX, tls::FreeWith<SSL_CTX_free>> context(SSL_CTX_new(TLS_method()));
  const std::unique_ptr<SSL, tls::FreeWith<SSL_free>> ssl(SSL_new(context.get()));
  BIO* const out = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), out);
  SSL_set_connect_state(ssl.get());
  SSL_do_handshake(ssl.get());
  char* data = nullptr;
  const long size = BIO_get_mem_data(out, &data);
  return {data, static_cast<std::size_t>(size)};
}

TEST_P(MtlsTest, SpeaksToOpenSsl) {
  StartServerProxy({});
  // Any port that is free now.
  const std::uint16_t port = Acceptor(server(), GetParam()).port();
  // It refuses a client that asks for anything else.
  const std::string name = "outbound_." + std::to_string(port) + "_._.cart.shop.svc.cluster.local";
  const auto server_with = [&](const CredentialDirectory& files) {
    const std::string path = files.path();
    return Process(server(), {.argv = {"openssl",
                                       "s_server",
                                       GetParam() == Family::kIpv4 ? "-4" : "-6",
                                       "-accept",
                                       std::to_string(port),
                                       "-cert",
                                       path + "/cert-chain.pem",
                                       "-key",
                                       path + "/key.pem",
                                       "-CAfile",
                                       path + "/root-cert.pem",
                                       "-servername",
                                       name,
                                       "-servername_fatal",
                                       "-cert2",
                                       path + "/cert-chain.pem",
                                       "-key2",
                                       path + "/key.pem",
                                       "-Verify",
                                       "3",
                                       "-verify_return_error",
                                       "-alpn",
                                       "istio",
                                       "-rev"}});
  };
  StartOutbound(RuleTo(port, std::string("host=cart.shop.svc.cluster.local ") + kCart));
  {
    const Process cart = server_with(cart_files_);
    ASSERT_TRUE(cart.WaitForText("ACCEPT", kPatience)) << cart.Err();
    auto peer = Peer::Connect(client(), ServerAt(port));
    ASSERT_TRUE(peer);
    peer->Send("stressed\n");
    EXPECT_EQ(peer->Receive(9), "desserts\n");
    peer->Close();
    EXPECT_EQ(Text(client_proxy_->LogLineTo(ServerAt(port)), "upstream_cluster"),
              "outbound|" + std::to_string(port) + "||cart.shop.svc.cluster.local");
  }
  const TestIdentity other_root = tls::Issue(tls::ValidToday(tls::TestCa("root")));
  const CredentialDirectory forged(tls::Issue(Workload(kCart), &other_root), other_root.Pem());
  const Process forger = server_with(forged);
  ASSERT_TRUE(forger.WaitForText("ACCEPT", kPatience)) << forger.Err();
  auto peer = Peer::Connect(client(), ServerAt(port));
  ASSERT_TRUE(peer);
  peer->Send("stressed\n");
  EXPECT_EQ(peer->WaitForEnd(), End::kReset);
  client_proxy_->LogLine([](const boost::json::object& line) {
    return Text(line, "upstream_transport_failure_reason")
        .starts_with("TLS_error:_the_peer's_certificate:");
  });
}

TEST_P(MtlsTest, PermissiveLetsInWhoIsNoProxy) {
  StartServerProxy({"--mtls-credentials=" + cart_files_.path(), "--mtls-inbound=permissive",
                    "--mtls-allow=spiffe://cluster.local/ns/shop/sa/*",
                    "--mtls-detection-timeout=10m"});
  Acceptor acceptor(server(), GetParam());
  EXPECT_THAT(Served(acceptor, till_files_), HasSubstr("ALPN protocol: istio"));
  auto plain = Peer::Connect(client(), ServerAt(acceptor.port()), kProxy);
  ASSERT_TRUE(plain);
  plain->Send("hello");
  auto plain_application = acceptor.Accept();
  ASSERT_TRUE(plain_application);
  EXPECT_EQ(plain_application->Receive(5), "hello");
  // The application's own TLS comes to it as it is, byte by byte.
  auto own = Peer::Connect(client(), ServerAt(acceptor.port()), kProxy);
  ASSERT_TRUE(own);
  const std::string hello = ClientHello();
  own->Send(hello.substr(0, 50));
  own->Send(hello.substr(50));
  auto application = acceptor.Accept();
  ASSERT_TRUE(application);
  EXPECT_EQ(application->Receive(hello.size()), hello);
  // A proxy that is not allowed is no plaintext.
  const CredentialDirectory bank(
      tls::Issue(Workload("spiffe://cluster.local/ns/bank/sa/till"), &root_), root_.Pem());
  Process stranger = Client(acceptor.port(), bank.path());
  EXPECT_THAT(stranger.Wait(kPatience).out, testing::Not(HasSubstr("welcome")));
  FailureLine("which_is_not_allowed");
  EXPECT_FALSE(IsReached(acceptor));

  EXPECT_EQ(server_proxy_->Metric("sluice_mtls_permitted_plaintext_total"), 2);
  const std::string opened =
      R"(istio_tcp_connections_opened_total{reporter="destination",connection_security_policy=)";
  EXPECT_EQ(server_proxy_->Metric(opened + R"("none"})"), 2);
  EXPECT_EQ(server_proxy_->Metric(opened + R"("mutual_tls"})"), 1);
  EXPECT_EQ(server_proxy_->Metric(opened + R"("unknown"})"), 1);
}

TEST_P(MtlsTest, PermissiveDoesNotWaitForWhoWaits) {
  StartServerProxy({"--mtls-credentials=" + cart_files_.path(), "--mtls-inbound=permissive",
                    "--mtls-detection-timeout=100ms"});
  Acceptor acceptor(server(), GetParam());
  auto client_end = Peer::Connect(client(), ServerAt(acceptor.port()), kProxy);
  ASSERT_TRUE(client_end);
  auto application = acceptor.Accept();
  ASSERT_TRUE(application);
  application->Send("220 ready");
  EXPECT_EQ(client_end->Receive(9), "220 ready");
  client_end->Send("hello");
  EXPECT_EQ(application->Receive(5), "hello");
}

TEST_P(MtlsTest, ServesCurl) {
  StartStrict();
  Acceptor acceptor(server(), GetParam());
  const std::string path = till_files_.path();
  Process curl(client(), {.argv = {"curl", "-sS", "--insecure", "--cert", path + "/cert-chain.pem",
                                   "--key", path + "/key.pem", "-g",
                                   "https://" + ServerAt(acceptor.port()).ToString() + "/"},
                          .who = kProxy});
  auto application = acceptor.Accept();
  ASSERT_TRUE(application);
  EXPECT_THAT(application->Receive(14), "GET / HTTP/1.1");
  application->Send("HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nwelcome");
  const CommandResult result = curl.Wait(kPatience);
  EXPECT_EQ(result.out, "welcome") << result.err;
}

// A rule for the own address: both directions of one proxy meet.
TEST_P(MtlsTest, APodCallsItself) {
  Acceptor acceptor(client(), GetParam());
  const SocketAddress self{Cluster::PodIp(0, GetParam()), acceptor.port()};
  StartOutbound(self.ip.ToString() + " * " + kTill + "\n",
                {"--mtls-inbound=strict", std::string("--mtls-allow=") + kTill});
  auto near = Peer::Connect(client(), self);
  ASSERT_TRUE(near);
  near->Send("hello");
  auto far = acceptor.Accept();
  ASSERT_TRUE(far);
  EXPECT_EQ(far->Receive(5), "hello");
}

TEST_P(MtlsTest, HalfOpenHandshakesDelayNobody) {
  Acceptor acceptor(server(), GetParam());
  Acceptor strict(server(), GetParam());
  StartStrict({"--mtls-inbound-plaintext-ports=" + std::to_string(acceptor.port()),
               "--connect-timeout=5m", "--max-connections=3000"});
  auto client_end = Peer::Connect(client(), ServerAt(acceptor.port()), kProxy);
  ASSERT_TRUE(client_end);
  auto server_end = acceptor.Accept();
  ASSERT_TRUE(server_end);
  WellBehaved stream(std::move(*client_end), std::move(*server_end));
  ASSERT_TRUE(stream.MakesRounds(10));
  const std::string hello = ClientHello();
  std::vector<Peer> half_open;
  for (int i = 0; i < 1000; ++i) {
    auto peer = Peer::Connect(client(), ServerAt(strict.port()), kProxy);
    ASSERT_TRUE(peer);
    peer->Send(hello.substr(0, i % 4 == 0 ? hello.size() / 2 : hello.size()));
    half_open.push_back(std::move(*peer));
  }
  EXPECT_TRUE(stream.MakesRounds(10));
  EXPECT_FALSE(stream.failed());
  EXPECT_FALSE(IsReached(strict));
  EXPECT_THAT(server_proxy_->Get(15000, "/connections").second, HasSubstr("\"handshaking\""));
  // They do not hold up the end of the proxy beyond its time.
  server_proxy_->process().Signal(SIGTERM);
  for (Peer& peer : half_open) peer.Close();
  server_proxy_->LogLineTo(ServerAt(strict.port()));
}

}  // namespace
}  // namespace sluice::testing_support
