// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/http/exchange.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/http/ambiguous.h"
#include "test/unit/http/drive.h"

namespace sluice::proxy {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;
using testing::StartsWith;

constexpr const char* kGet = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
constexpr const char* kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

// Nothing is written that is not asked for.
RewriteRules Bare(Direction direction = Direction::kOutbound) {
  return {.direction = direction, .headers = HttpHeaderSet(), .client_certificate = {}};
}

TEST(HttpRewrite, OutboundRequest) {
  DrivenExchange driven;
  driven.FromClient("GET /a HTTP/1.1\r\nhOST:  a\r\nX-Odd:\t b \r\n\r\n");
  EXPECT_THAT(driven.to_server(),
              MatchesRegex("GET /a HTTP/1.1\r\nhOST:  a\r\nX-Odd:\t b \r\n"
                           "x-forwarded-proto: http\r\n"
                           "x-request-id: [0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-"
                           "[0-9a-f]{12}\r\n"
                           "x-envoy-attempt-count: 1\r\n"
                           "x-b3-traceid: [0-9a-f]{32}\r\nx-b3-spanid: [0-9a-f]{16}\r\n"
                           "x-b3-sampled: 0\r\n\r\n"));
  const std::string& out = driven.to_server();
  const std::string trace = out.substr(out.find("traceid: ") + 9, 32);
  EXPECT_THAT(out, HasSubstr("x-b3-spanid: " + trace.substr(16))) << "a root span";
}

TEST(HttpRewrite, InboundRequestIsAChild) {
  DrivenExchange driven({.direction = Direction::kInbound,
                         .headers = HttpHeaderSet::All(),
                         .client_certificate = "By=x;URI=y"});
  driven.FromClient(
      "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\nx-b3-traceid: "
      "0123456789abcdef0123456789abcdef\r\nx-b3-spanid: 0123456789abcdef\r\nx-b3-sampled: 1\r\n"
      "traceparent: 00-1-2-01\r\nx-forwarded-proto: spdy\r\nX-Forwarded-For: 10.1.1.1\r\n\r\n");
  EXPECT_THAT(driven.to_server(),
              MatchesRegex("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\nx-b3-traceid: "
                           "0123456789abcdef0123456789abcdef\r\nx-b3-sampled: 1\r\n"
                           "traceparent: 00-1-2-01\r\nx-forwarded-proto: spdy\r\n"
                           "X-Forwarded-For: 10.1.1.1\r\n"
                           "x-forwarded-client-cert: By=x;URI=y\r\n"
                           "x-b3-spanid: [0-9a-f]{16}\r\nx-b3-parentspanid: 0123456789abcdef\r\n"
                           "\r\n"));
}

TEST(HttpRewrite, ForgedClientCertificatesGo) {
  DrivenExchange driven(Bare(Direction::kInbound));
  driven.FromClient(
      "POST / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Client-Cert: forged\r\n"
      "x-FORWARDED-client-CERT: forged\r\nX_Forwarded_Client_Cert: forged\r\n"
      "Connection: keep-alive, X-Forwarded-Client-Cert\r\nTransfer-Encoding: chunked\r\n\r\n"
      "1\r\na\r\n0\r\nX-Forwarded-Client-Cert: forged\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n"
      "GET /2 HTTP/1.1\r\nHost: a\r\nX-Forwarded-Client-Cert: forged\r\n"
      "Connection: x-forwarded-client-cert\r\n\r\n");
  EXPECT_EQ(driven.to_server(),
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n"
            "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n"
            "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
}

TEST(HttpRewrite, Responses) {
  for (const Direction direction : {Direction::kOutbound, Direction::kInbound}) {
    DrivenExchange driven({.direction = direction});
    driven.FromClient(kGet);
    driven.FromServer(
        "HTTP/1.1 200 Fine\r\nDate: now\r\nServer: nginx\r\nx-envoy-upstream-service-time: 999\r\n"
        "Content-Length: 2\r\n\r\nok");
    const std::string name = direction == Direction::kOutbound ? "envoy" : "istio-envoy";
    EXPECT_THAT(driven.to_client(),
                MatchesRegex("HTTP/1.1 200 Fine\r\nDate: now\r\nserver: " + name +
                             "\r\nContent-Length: 2\r\nx-envoy-upstream-service-time: "
                             "[0-9]{1,2}\r\n\r\nok"));
  }
  EXPECT_EQ(ForwardedClientCert("spiffe://a/b", "00ff", "CN=\"x\"\n", "spiffe://a/c"),
            "By=spiffe://a/b;Hash=00ff;Subject=\"CN=\\\"x\\\"?\";URI=spiffe://a/c");
}

TEST(HttpExchange, RecordsRequests) {
  DrivenExchange driven(Bare());
  driven.FromClient(
      "POST http://shop:8080/a?b HTTP/1.1\r\nHost: a\r\nUser-Agent: u\r\nX-Request-Id: r\r\n"
      "X-Forwarded-For: f\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel");
  EXPECT_TRUE(driven.exchange.records().empty());
  driven.FromClient("lo\r\n0\r\n\r\n");
  driven.FromServer(kOk);
  ASSERT_EQ(driven.exchange.records().size(), 1U);
  const HttpRecord& record = driven.exchange.records()[0];
  EXPECT_EQ(record.method, "POST");
  EXPECT_EQ(record.path, "/a?b");
  EXPECT_EQ(record.authority, "shop:8080");
  EXPECT_EQ(record.user_agent, "u");
  EXPECT_EQ(record.request_id, "r");
  EXPECT_EQ(record.forwarded_for, "f");
  EXPECT_EQ(record.protocol, "HTTP/1.1");
  EXPECT_EQ(record.status, 200);
  EXPECT_EQ(record.request_bytes, 5U);
  EXPECT_EQ(record.response_bytes, 2U);
  EXPECT_GE(record.service_ms, 0);
  EXPECT_EQ(record.flags, "");
}

TEST(HttpExchange, MatchesPipelinedAnswers) {
  DrivenExchange driven(Bare());
  driven.FromClient(std::string("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n") + kGet + kGet +
                    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n"
                    "\r\n");
  const std::string answers =
      "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
      "HTTP/1.1 204 No\r\n\r\nHTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n"
      "HTTP/1.1 100 Continue\r\n\r\n";
  for (const char c : answers) driven.FromServer(std::string(1, c));
  driven.FromClient("abc");
  driven.FromServer(
      "HTTP/1.1 201 Made\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\n\r\n");
  EXPECT_TRUE(driven.to_server().ends_with("\r\n\r\nabc"));
  EXPECT_EQ(
      driven.to_client(),
      answers + "HTTP/1.1 201 Made\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\n\r\n");
  std::vector<int> codes;
  for (const HttpRecord& record : driven.exchange.records()) codes.push_back(record.status);
  EXPECT_THAT(codes, testing::ElementsAre(200, 204, 304, 201));
  EXPECT_FALSE(driven.response.ended());
}

TEST(HttpExchange, ReadsNoMoreThanItAnswers) {
  DrivenExchange driven(Bare());
  std::string many;
  for (std::size_t i = 0; i < HttpExchange::kMaxOpen + 5; ++i) many += kGet;
  driven.FromClient(many);
  driven.FromClient(many);
  EXPECT_EQ(driven.to_server().size(), HttpExchange::kMaxOpen * std::string(kGet).size());
  EXPECT_EQ(driven.request.waiting(), many.size()) << "left in the socket";
  for (std::size_t i = 0; i < 2 * (HttpExchange::kMaxOpen + 5); ++i) driven.FromServer(kOk);
  EXPECT_EQ(driven.to_server(), many + many);
  EXPECT_FALSE(driven.response.ended());
}

TEST(HttpExchange, EarlyAnswers) {
  DrivenExchange driven(Bare());
  driven.FromClient("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc");
  driven.FromServer("HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n");
  EXPECT_TRUE(driven.exchange.records().empty());
  driven.FromClient("def");
  ASSERT_EQ(driven.exchange.records().size(), 1U);
  driven.FromClient(kGet);
  driven.FromServer(kOk);
  EXPECT_TRUE(driven.to_client().ends_with("ok"));
  EXPECT_TRUE(driven.to_server().ends_with(std::string("abcdef") + kGet));
}

TEST(HttpExchange, AnswersToNothingAreNotPassedOn) {
  DrivenExchange driven(Bare());
  driven.FromClient(kGet);
  driven.FromServer(std::string(kOk) + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged");
  EXPECT_EQ(driven.to_client(), kOk);
  EXPECT_TRUE(driven.response.ended() && driven.cut());
}

TEST(HttpExchange, Tunnels) {
  DrivenExchange driven(Bare());
  driven.FromClient(
      "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  driven.FromClient("GET / frame");
  EXPECT_THAT(driven.to_server(), Not(HasSubstr("frame"))) << "not before it is allowed";
  driven.FromServer("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\nbytes");
  EXPECT_TRUE(driven.to_server().ends_with("GET / frame"));
  EXPECT_TRUE(driven.to_client().ends_with("\r\n\r\nbytes"));
  EXPECT_TRUE(driven.exchange.is_tunnel());
  EXPECT_TRUE(driven.request.is_plain() && driven.response.is_plain());
  driven.exchange.SetTunnelStart(100, 200);
  driven.exchange.SetTunnelEnd(103, 204);
  driven.exchange.Close(driven.request.passes(), driven.response.passes(), "DC");
  ASSERT_EQ(driven.exchange.records().size(), 1U);
  EXPECT_EQ(driven.exchange.records()[0].request_bytes, 3U);
  EXPECT_EQ(driven.exchange.records()[0].response_bytes, 5U + 4U);
  EXPECT_EQ(driven.exchange.records()[0].flags, "");

  DrivenExchange refused(Bare());
  refused.FromClient("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
  refused.FromClient(kGet);
  refused.FromServer(kOk);
  refused.FromServer(kOk);
  EXPECT_TRUE(refused.to_server().ends_with(kGet));
  EXPECT_EQ(refused.to_client(), std::string(kOk) + kOk);

  DrivenExchange connect(Bare());
  connect.FromClient("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\nopaque");
  connect.FromServer("HTTP/1.1 200 OK\r\n\r\nopaque too");
  EXPECT_TRUE(connect.to_server().ends_with("opaque"));
  EXPECT_TRUE(connect.to_client().ends_with("opaque too"));
}

TEST(HttpExchange, WhatIsNotHttpPasses) {
  DrivenExchange speaks_first;
  speaks_first.FromServer("220 ready\r\n");
  speaks_first.FromClient("EHLO HTTP/1.1\r\n");
  EXPECT_EQ(speaks_first.to_client(), "220 ready\r\n");
  EXPECT_EQ(speaks_first.to_server(), "EHLO HTTP/1.1\r\n");
  EXPECT_TRUE(speaks_first.request.is_plain() && speaks_first.response.is_plain());

  DrivenExchange http2;
  const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  for (const char c : preface) http2.FromClient(std::string(1, c));
  EXPECT_EQ(http2.to_server(), preface);
  EXPECT_TRUE(http2.exchange.is_http2());

  DrivenExchange ends;
  ends.FromClient("GE");
  EXPECT_EQ(ends.to_server(), "");
  EXPECT_TRUE(ends.exchange.HoldsUndecided());
  ends.EndClient();
  EXPECT_EQ(ends.to_server(), "GE");
  EXPECT_FALSE(ends.exchange.has_records());
}

// Whoever waits for an answer to some letters gets it, and nobody gets around the rewriting so.
TEST(HttpExchange, ReleasedBytesAreStillLookedAt) {
  DrivenExchange driven(Bare());
  driven.FromClient("\r\nG");
  driven.exchange.ReleaseUndecided();
  driven.Settle();
  EXPECT_EQ(driven.to_server(), "\r\nG");
  EXPECT_FALSE(driven.exchange.HoldsUndecided());
  driven.FromClient("ET / HTTP/1.1\r\nX-Forwarded-Client-Cert: forged\r\nHost: a\r\n\r\n");
  EXPECT_EQ(driven.to_server(), std::string("\r\n") + kGet);
}

TEST(HttpExchange, AnswersInsteadOfTheServer) {
  {
    DrivenExchange driven(Bare());
    driven.exchange.Refuse({.status = 503, .flags = "UF,URX", .details = "d", .body = "no"});
    driven.FromClient(kGet);
    EXPECT_EQ(driven.to_server(), "");
    EXPECT_THAT(driven.to_client(), StartsWith("HTTP/1.1 503 Service Unavailable\r\n"));
    EXPECT_THAT(driven.to_client(), HasSubstr("\r\nconnection: close\r\n\r\nno"));
    ASSERT_EQ(driven.exchange.records().size(), 1U);
    EXPECT_EQ(driven.exchange.records()[0].flags, "UF,URX");
  }
  {
    DrivenExchange driven(Bare());
    driven.exchange.Refuse({});
    driven.FromClient("hello\r\n");
    EXPECT_NE(driven.request.error, 0) << "not its language";
  }
  {
    DrivenExchange driven(Bare());
    driven.FromClient("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_TRUE(driven.exchange.AwaitsAnswer());
    driven.EndServer();
    EXPECT_THAT(driven.to_client(), StartsWith("HTTP/1.1 503 "));
    EXPECT_TRUE(driven.to_client().ends_with("\r\n\r\n")) << "no body";
    EXPECT_EQ(driven.exchange.records()[0].flags, "UC");
  }
  {
    // The answers that are due come first.
    DrivenExchange driven(Bare());
    driven.FromClient(std::string(kGet) + "GET / HTTP/1.1\r\nbad\r\n\r\n");
    EXPECT_EQ(driven.to_client(), "");
    driven.FromServer(kOk);
    EXPECT_THAT(driven.to_client(), StartsWith(std::string(kOk) + "HTTP/1.1 400 "));
    EXPECT_EQ(driven.to_server(), kGet);
    EXPECT_TRUE(driven.response.ended() && driven.cut());
  }
}

TEST(HttpExchange, BadChunksOfARequest) {
  for (const std::string& chunks : AmbiguousChunks()) {
    DrivenExchange driven(Bare());
    driven.FromClient("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks +
                      kGet);
    EXPECT_THAT(driven.to_client(), StartsWith("HTTP/1.1 400 ")) << chunks;
    EXPECT_TRUE(driven.cut()) << chunks;
    EXPECT_THAT(driven.to_server(), Not(HasSubstr("GET"))) << chunks;
  }
  DrivenExchange late(Bare());
  late.FromClient("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  late.FromServer("HTTP/1.1 200 OK\r\n\r\nhel");
  late.FromClient("nonsense\r\n");
  EXPECT_NE(late.request.error, 0) << "too late for an answer";
}

TEST(HttpExchange, TruncatedAnswersStayTruncated) {
  for (const char* answer :
       {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n0\r\n"}) {
    DrivenExchange driven(Bare());
    driven.FromClient(kGet);
    driven.FromServer(answer);
    driven.EndServer();
    EXPECT_NE(driven.response.error, 0) << answer;
    driven.exchange.Close(0, 0, "UC");
    EXPECT_EQ(driven.exchange.records().at(0).response_bytes, 3U) << answer;
    EXPECT_EQ(driven.exchange.records().at(0).flags, "UC");
  }
  DrivenExchange whole(Bare());
  whole.FromClient(kGet);
  whole.FromServer("HTTP/1.0 200 OK\r\n\r\nhello");
  whole.EndServer();
  EXPECT_EQ(whole.response.error, 0);
  EXPECT_EQ(whole.exchange.records().at(0).response_bytes, 5U);
  EXPECT_EQ(whole.exchange.records().at(0).flags, "");
}

TEST(HttpExchange, DrainsWithTheNextAnswer) {
  DrivenExchange driven(Bare());
  driven.FromClient(std::string(kGet) + kGet);
  driven.FromServer("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfi");
  driven.exchange.Drain();
  driven.FromServer("rs");
  EXPECT_THAT(driven.to_client(), Not(HasSubstr("close"))) << "not in a body";
  driven.FromServer(
      "HTTP/1.1 200 OK\r\nConnection: keep-alive, x\r\nKeep-Alive: timeout=5\r\n"
      "Content-Length: 2\r\n\r\nok");
  EXPECT_TRUE(driven.to_client().ends_with(
      "HTTP/1.1 200 OK\r\nConnection: x\r\nContent-Length: 2\r\nconnection: close\r\n\r\nok"))
      << driven.to_client();
  EXPECT_TRUE(driven.response.ended() && driven.cut());
  EXPECT_EQ(driven.exchange.records().size(), 2U);
}

}  // namespace
}  // namespace sluice::proxy
