// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Mutual TLS with HAProxy and nginx, with certificates at both ends and Istio's ALPN protocol.
#include <filesystem>
#include <optional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/netns/proxy_mtls_fixture.h"

namespace sluice::testing_support {
namespace {

using testing::HasSubstr;

class MtlsPeersTest : public MtlsTest {
 protected:
  // The programs run as the proxy's user, and one writes its process id.
  MtlsPeersTest() { std::filesystem::permissions(work_.path(), std::filesystem::perms(0777)); }

  // HAProxy with this configuration, when it listens.
  void StartHaproxy(const netns::Namespace& where, const std::string& proxies) {
    work_.Write("haproxy.cfg",
                "global\n  maxconn 100\n"
                "defaults\n  mode tcp\n  timeout connect 60s\n  timeout client 60s\n"
                "  timeout server 60s\n" +
                    proxies);
    peer_.emplace(
        where, Command{.argv = {"/usr/sbin/haproxy", "-W", "-db", "-f", work_.File("haproxy.cfg")},
                       .who = kProxy});
    ASSERT_TRUE(peer_->WaitForText("Loading success", kPatience)) << peer_->Err();
  }
  // nginx's stream module, the same.
  void StartNginx(const netns::Namespace& where, const std::string& stream) {
    work_.Write("nginx.conf",
                "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n"
                "daemon off;\nworker_processes 1;\npid " +
                    work_.File("pid") + ";\nerror_log stderr notice;\n" +
                    "events { worker_connections 100; }\nstream {\n" + stream + "}\n");
    peer_.emplace(where, Command{.argv = {"/usr/sbin/nginx", "-p", work_.path(), "-c",
                                          work_.File("nginx.conf")},
                                 .who = kProxy});
    ASSERT_TRUE(peer_->WaitForText("start worker process ", kPatience)) << peer_->Err();
  }
  // HAProxy reads certificate and key from one file.
  static std::string Joined(const CredentialDirectory& files, const TestIdentity& identity) {
    files.Write("both.pem", identity.Pem() + identity.KeyPem());
    return files.File("both.pem");
  }
  // A port that is free now.
  std::uint16_t FreePort(const netns::Namespace& where) const {
    return Acceptor(where, GetParam()).port();
  }
  SocketAddress LoopbackAt(std::uint16_t port) const {
    return {IpAddress::Parse(GetParam() == Family::kIpv4 ? "127.0.0.1" : "::1"), port};
  }
  std::string Loopback(std::uint16_t port) const { return LoopbackAt(port).ToString(); }
  // From the application of the client's pod through its proxy, `peer_` and its application.
  void ExpectServed(Acceptor& application, std::uint16_t port) {
    auto client_end = Peer::Connect(client(), ServerAt(port));
    ASSERT_TRUE(client_end);
    client_end->Send("hello");
    auto server_end = application.Accept();
    ASSERT_TRUE(server_end) << peer_->Err() << client_proxy_->process().Out();
    EXPECT_EQ(server_end->Receive(5), "hello");
    server_end->Send("good day");
    server_end->Close();
    End end{};
    EXPECT_EQ(client_end->ReceiveAll(end), "good day");
    EXPECT_EQ(end, End::kFin);
    client_end->Close();
    const auto line = client_proxy_->LogLineTo(ServerAt(port));
    EXPECT_EQ(Text(line, "upstream_peer_uri_san"), kCart);
    EXPECT_EQ(Text(line, "tls_version"), "TLSv1.3");
  }
  // From a program that speaks to `peer_` in the client's pod to the application behind our proxy.
  void ExpectLetIn(std::uint16_t port, Acceptor& application) {
    auto client_end = Peer::Connect(client(), LoopbackAt(port), kProxy);
    ASSERT_TRUE(client_end);
    client_end->Send("hello");
    auto server_end = application.Accept();
    ASSERT_TRUE(server_end) << peer_->Err() << server_proxy_->process().Out();
    EXPECT_EQ(server_end->Receive(5), "hello");
    server_end->Send("good day");
    server_end->Close();
    EXPECT_EQ(client_end->Receive(8), "good day");
    client_end->Close();
    const auto line = server_proxy_->LogLineTo(ServerAt(application.port()));
    EXPECT_EQ(Text(line, "downstream_peer_uri_san"), kTill);
    EXPECT_EQ(Text(line, "tls_version"), "TLSv1.3");
  }

  const CredentialDirectory work_;
  std::optional<Process> peer_;
};

INSTANTIATE_TEST_SUITE_P(, MtlsPeersTest, testing::Values(Family::kIpv4, Family::kIpv6),
                         FamilyName);

TEST_P(MtlsPeersTest, HaproxyServesOurClient) {
  StartServerProxy({});
  Acceptor application(server(), GetParam());
  const std::uint16_t port = FreePort(server());
  StartHaproxy(server(), "listen cart\n  bind " + ServerAt(port).ToString() + " ssl crt " +
                             Joined(cart_files_, cart_) + " ca-file " +
                             cart_files_.File("root-cert.pem") +
                             " verify required alpn istio ssl-min-ver TLSv1.3\n"
                             // Who did not offer it is turned away.
                             "  tcp-request content reject unless { ssl_fc_alpn istio }\n"
                             "  server application " +
                             Loopback(application.port()) + "\n");
  StartOutbound(RuleTo(port, kCart));
  ExpectServed(application, port);
}

TEST_P(MtlsPeersTest, HaproxyComesInWithACertificate) {
  StartStrict();
  Acceptor application(server(), GetParam());
  const std::uint16_t port = FreePort(client());
  StartHaproxy(client(), "listen till\n  bind " + Loopback(port) + "\n  server cart " +
                             ServerAt(application.port()).ToString() + " ssl crt " +
                             Joined(till_files_, till_) + " ca-file " +
                             till_files_.File("root-cert.pem") + " verify required alpn istio\n");
  ExpectLetIn(port, application);
}

TEST_P(MtlsPeersTest, NginxServesOurClient) {
  StartServerProxy({});
  Acceptor application(server(), GetParam());
  const std::uint16_t port = FreePort(server());
  StartNginx(server(), "server {\n  listen " + ServerAt(port).ToString() +
                           " ssl;\n  ssl_certificate " + cart_files_.File("cert-chain.pem") +
                           ";\n  ssl_certificate_key " + cart_files_.File("key.pem") +
                           ";\n  ssl_client_certificate " + cart_files_.File("root-cert.pem") +
                           ";\n  ssl_verify_client on;\n  ssl_protocols TLSv1.3;\n"
                           "  ssl_alpn istio;\n  proxy_pass " +
                           Loopback(application.port()) + ";\n}\n");
  StartOutbound(RuleTo(port, kCart));
  ExpectServed(application, port);
}

// It offers no ALPN protocol, which strict does not ask for. It can verify the chain of a server,
// but only together with a host's name, which workloads' certificates do not have.
TEST_P(MtlsPeersTest, NginxComesInWithACertificate) {
  StartStrict();
  Acceptor application(server(), GetParam());
  const std::uint16_t port = FreePort(client());
  StartNginx(client(), "server {\n  listen " + Loopback(port) + ";\n  proxy_pass " +
                           ServerAt(application.port()).ToString() +
                           ";\n  proxy_ssl on;\n  proxy_ssl_protocols TLSv1.3;\n"
                           "  proxy_ssl_certificate " +
                           till_files_.File("cert-chain.pem") + ";\n  proxy_ssl_certificate_key " +
                           till_files_.File("key.pem") + ";\n}\n");
  ExpectLetIn(port, application);
}

}  // namespace
}  // namespace sluice::testing_support
