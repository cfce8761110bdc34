// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// HTTP/1 and HTTP/2 through two proxies, with mutual TLS, nginx, Node.js, h2load and gRPC.
#include <functional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/netns/proxy_http_fixture.h"
#include "test/unit/http/ambiguous.h"
#include "test/unit/mtls/credential_directory.h"

namespace sluice::testing_support {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;
using testing::StartsWith;
using tls::CredentialDirectory;
using tls::TestIdentity;
using tls::Workload;

TEST_P(HttpTest, WithMutualTls) {
  constexpr const char* kCart = "spiffe://cluster.local/ns/shop/sa/cart";
  constexpr const char* kTill = "spiffe://cluster.local/ns/shop/sa/till";
  const TestIdentity root = tls::Issue(tls::ValidToday(tls::TestCa("root")));
  const CredentialDirectory cart(tls::Issue(Workload(kCart), &root), root.Pem());
  const CredentialDirectory till(tls::Issue(Workload(kTill), &root), root.Pem());
  till.Write("rules",
             ServerAt(kPort).ip.ToString() + " * host=cart.shop.svc.cluster.local " + kCart + "\n");
  StartServerProxy({"--http=auto", "--mtls-credentials=" + cart.path(), "--mtls-inbound=strict",
                    std::string("--mtls-allow=") + kTill});
  StartClientProxy({"--http=auto", "--mtls-credentials=" + till.path(),
                    "--mtls-outbound=" + till.File("rules")});
  {
    const Process python = StartPython();
    const CommandResult result =
        Curl({"-H", "X-Forwarded-Client-Cert: forged", Url("/headers"), Url("/again")});
    ASSERT_EQ(result.exit_status, 0) << result.err;
    const std::string headers = result.out.substr(0, result.out.rfind(']') + 1);
    EXPECT_THAT(Header(headers, "x-forwarded-client-cert"),
                MatchesRegex(std::string("By=") + kCart +
                             ";Hash=[0-9a-f]{64};Subject=\".*\";URI=" + kTill));
    EXPECT_EQ(Header(headers, "X-Forwarded-Client-Cert"), "");
  }
  const boost::json::object in = server_proxy_->LogLine(RequestTo("/again"));
  EXPECT_EQ(Text(in, "downstream_peer_uri_san"), kTill);
  EXPECT_EQ(Text(in, "tls_version"), "TLSv1.3");
  const boost::json::object out = client_proxy_->LogLine(RequestTo("/again"));
  EXPECT_EQ(Text(out, "upstream_peer_uri_san"), kCart);
  EXPECT_EQ(Text(out, "upstream_cluster"),
            "outbound|" + std::to_string(kPort) + "||cart.shop.svc.cluster.local");
  // The application is gone, and the server's proxy says so.
  const CommandResult gone = Curl({"-i", Url("/gone")});
  EXPECT_THAT(gone.out, StartsWith("HTTP/1.1 503 ")) << gone.err;
}

// Files that nginx serves, many requests on one connection, and requests that nginx reads
// differently from Python.
TEST_P(HttpTest, NginxBehindIt) {
  StartHttp();
  const Nginx nginx(server(), GetParam() == Family::kIpv4 ? "listen 8081;" : "listen [::]:8081;");
  nginx.Serve("file", std::string(2'000'000, 'x') + "end");
  ASSERT_TRUE(Eventually([&] {
    return Curl({"-o", "/dev/null", "-w", "%{http_code}", Url("/file", 8081)}).out == "200";
  })) << nginx.Err();
  const CommandResult many =
      Curl({"-w", "%{num_connects}", Url("/file", 8081), Url("/file", 8081), Url("/file", 8081)});
  std::string file;
  for (int i = 0; i < 3; ++i) {
    file += std::string(2'000'000, 'x') + "end" + (i == 0 ? "1" : "0");
  }
  EXPECT_TRUE(many.out == file) << many.err;
}

// Three servers that read some requests differently from one another, and from the proxy. What an
// attacker writes behind an ambiguous request is no request to any of them, and others get their
// own answers.
TEST_P(HttpTest, NothingIsSmuggledToServers) {
  StartHttp();
  const Process python = StartPython();
  const Nginx nginx(server(), GetParam() == Family::kIpv4 ? "listen 8081;" : "listen [::]:8081;");
  nginx.Serve("mine", "/mine");
  const Process node(server(), {.argv = {"node", SLUICE_NODE_SERVER, AnyAddress(), "8083"}});
  ASSERT_TRUE(node.WaitForText("listening", kPatience)) << node.Err();
  struct Server {
    std::uint16_t port;
    std::function<std::string()> log;
  };
  const Server servers[] = {{kPort, [&] { return python.Out(); }},
                            {8081, [&] { return nginx.Log(); }},
                            {8083, [&] { return node.Out(); }}};
  std::vector<std::string> attacks = proxy::AmbiguousRequests();
  for (const std::string& chunks : proxy::AmbiguousChunks()) {
    attacks.push_back("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks);
  }
  for (const Server& one : servers) {
    ASSERT_TRUE(Eventually([&] { return Curl({Url("/mine", one.port)}).out == "/mine"; }));
    for (const std::string& attack : attacks) {
      auto peer = Peer::Connect(client(), ServerAt(one.port));
      ASSERT_TRUE(peer);
      peer->Send(attack);
      peer->Send("0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
      End end{};
      EXPECT_THAT(peer->ReceiveAll(end), Not(HasSubstr("smuggled"))) << attack;
      // To start curl takes longer than all of this.
      auto other = Peer::Connect(client(), ServerAt(one.port));
      ASSERT_TRUE(other);
      other->Send("GET /mine HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
      EXPECT_THAT(other->ReceiveAll(end),
                  AllOf(StartsWith("HTTP/1.1 200 "), EndsWith("\r\n\r\n/mine")))
          << attack;
    }
    EXPECT_THAT(one.log(), HasSubstr("/mine"));
    EXPECT_THAT(one.log(), Not(HasSubstr("smuggled"))) << one.port;
  }
}

// HTTP/2 passes as it is, and each of its requests is logged on both sides.
TEST_P(HttpTest, Http2IsReadAndNotChanged) {
  StartHttp();
  const Nginx nginx(server(),
                    GetParam() == Family::kIpv4 ? "listen 8081 http2;" : "listen [::]:8081 http2;");
  const std::string content = std::string(2'000'000, 'x') + "end";
  nginx.Serve("file", content);
  nginx.Serve("small", "small");
  ASSERT_TRUE(Eventually([&] {
    return Curl({"--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{http_code}",
                 Url("/small?first", 8081)})
               .out == "200";
  })) << nginx.Err();
  // One request a connection: with a second one this curl fails without proxies, too.
  const CommandResult got = Curl({"--http2-prior-knowledge", "-H", "X-Request-Id: mine", "-H",
                                  "User-Agent: me", Url("/file", 8081)});
  EXPECT_TRUE(got.out == content) << got.err;
  Curl({"--http2-prior-knowledge", Url("/none?x=%22", 8081)});
  for (ProxyProcess* const proxy : {&*client_proxy_, &*server_proxy_}) {
    const boost::json::object file = proxy->LogLine(RequestTo("/file"));
    EXPECT_EQ(Text(file, "protocol"), "HTTP/2");
    EXPECT_EQ(Text(file, "method"), "GET");
    EXPECT_EQ(Text(file, "authority"), ServerAt(8081).ToString());
    EXPECT_EQ(Text(file, "request_id"), "mine");
    EXPECT_EQ(Text(file, "user_agent"), "me");
    EXPECT_EQ(file.at("response_code"), 200);
    EXPECT_EQ(file.at("bytes_sent").to_number<std::size_t>(), content.size());
    EXPECT_EQ(Text(file, "response_flags"), "-");
    EXPECT_EQ(proxy->LogLine(RequestTo("/none?x=%22")).at("response_code"), 404);
  }
  // Many streams of several connections at once.
  const CommandResult load = RunCommand(
      client(), {.argv = {"h2load", "-n", "500", "-c", "3", "-m", "20", Url("/small?many", 8081)},
                 .who = kApplication});
  EXPECT_THAT(load.out, HasSubstr(" 500 succeeded, 0 failed")) << load.err;
  for (ProxyProcess* const proxy : {&*client_proxy_, &*server_proxy_}) {
    const std::string side = proxy == &*client_proxy_ ? "source" : "destination";
    const auto count = [&](const std::string& code) {
      return proxy->Metric("istio_requests_total{reporter=\"" + side +
                           "\",request_protocol=\"http\",response_code=\"" + code + "\"}");
    };
    EXPECT_TRUE(Eventually([&] { return count("200") == 502; })) << count("200");
    EXPECT_EQ(count("404"), 1);
  }
}

TEST_P(HttpTest, GrpcByItsStatus) {
  StartHttp();
  const std::string place = SocketAddress{IpAddress::Parse(AnyAddress()), 8082}.ToString();
  const Process grpc(server(), {.argv = {"/usr/bin/python3", SLUICE_GRPC_PEER, "serve", place}});
  ASSERT_TRUE(grpc.WaitForText("listening", kPatience)) << grpc.Err();
  const CommandResult called = RunCommand(
      client(), {.argv = {"/usr/bin/python3", SLUICE_GRPC_PEER, "call", ServerAt(8082).ToString()},
                 .who = kApplication});
  ASSERT_EQ(called.out, "done\n") << called.err;
  struct Call {
    const char* path;
    int grpc_status;  // -1: none came
    const char* flags;
  };
  for (ProxyProcess* const proxy : {&*client_proxy_, &*server_proxy_}) {
    for (const Call& call : {Call{"/test.Cart/Add", 0, "-"}, Call{"/test.Cart/Refuse", 7, "-"},
                             Call{"/test.Cart/Talk", 0, "-"}, Call{"/test.Cart/Wait", -1, "DR"}}) {
      const boost::json::object line = proxy->LogLine(RequestTo(call.path));
      EXPECT_EQ(Text(line, "method"), "POST");
      EXPECT_EQ(line.at("response_code"), 200);
      EXPECT_EQ(Text(line, "response_flags"), call.flags) << call.path;
      EXPECT_EQ(line.contains("grpc_status_number"), call.grpc_status >= 0);
      if (call.grpc_status >= 0) {
        EXPECT_EQ(line.at("grpc_status_number"), call.grpc_status);
      }
    }
    const std::string side = proxy == &*client_proxy_ ? "source" : "destination";
    EXPECT_EQ(proxy->Metric("istio_requests_total{reporter=\"" + side +
                            "\",request_protocol=\"grpc\",response_code=\"200\","
                            "grpc_response_status=\"0\"}"),
              2);
  }
}

}  // namespace
}  // namespace sluice::testing_support
