// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// HTTP/1 through two proxies, with curl and a server in Python.
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/netns/proxy_http_fixture.h"
#include "test/unit/http/ambiguous.h"

namespace sluice::testing_support {
namespace {

using testing::ContainsRegex;
using testing::EndsWith;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;
using testing::StartsWith;

INSTANTIATE_TEST_SUITE_P(, HttpTest, testing::Values(Family::kIpv4, Family::kIpv6), FamilyName);

TEST_P(HttpTest, BothSidesWriteHeadersAndLogs) {
  StartHttp();
  const Process python = StartPython();
  const CommandResult result =
      Curl({"-i", "-H", "X-Forwarded-Client-Cert: forged", "-H", "X-Odd: Case", Url("/headers"),
            "--next", "-sS", "-g", Url("/second")});
  ASSERT_EQ(result.exit_status, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("\r\nserver: envoy\r\n"));
  EXPECT_THAT(result.out, ContainsRegex("\r\nx-envoy-upstream-service-time: [0-9]+\r\n"));
  EXPECT_TRUE(result.out.ends_with("/second"));
  const std::size_t body = result.out.find("\r\n\r\n") + 4;
  const std::string headers = result.out.substr(body, result.out.rfind(']') + 1 - body);
  EXPECT_EQ(Header(headers, "X-Odd"), "Case");
  EXPECT_EQ(Header(headers, "X-Forwarded-Client-Cert"), "");
  EXPECT_EQ(Header(headers, "x-forwarded-proto"), "http");
  EXPECT_EQ(Header(headers, "x-envoy-attempt-count"), "1");
  const std::string trace = Header(headers, "x-b3-traceid");
  ASSERT_EQ(trace.size(), 32U);
  EXPECT_EQ(Header(headers, "x-b3-parentspanid"), trace.substr(16));
  EXPECT_NE(Header(headers, "x-b3-spanid"), trace.substr(16));
  EXPECT_EQ(Header(headers, "x-b3-sampled"), "0");

  const std::string id = Header(headers, "x-request-id");
  EXPECT_EQ(id.size(), 36U);
  const boost::json::object out = client_proxy_->LogLine(RequestTo("/headers"));
  const boost::json::object in = server_proxy_->LogLine(RequestTo("/headers"));
  for (const boost::json::object& line : {out, in}) {
    EXPECT_EQ(Text(line, "request_id"), id);
    EXPECT_EQ(Text(line, "method"), "GET");
    EXPECT_EQ(Text(line, "protocol"), "HTTP/1.1");
    EXPECT_EQ(Text(line, "authority"), ServerAt(kPort).ToString());
    EXPECT_EQ(line.at("response_code"), 200);
    EXPECT_EQ(Text(line, "response_flags"), "-");
    EXPECT_EQ(Text(line, "response_code_details"), "via_upstream");
    EXPECT_THAT(Text(line, "upstream_service_time"), MatchesRegex("[0-9]+"));
    EXPECT_EQ(line.at("bytes_received"), 0);
    EXPECT_EQ(line.at("bytes_sent").to_number<std::size_t>(), headers.size());
  }
  const SocketAddress to = ServerAt(kPort);
  EXPECT_EQ(Text(out, "upstream_cluster"), GetParam() == Family::kIpv4
                                               ? "outbound|8080||" + to.ip.ToString()
                                               : "outbound|8080||[" + to.ip.ToString() + "]");
  EXPECT_EQ(Text(in, "upstream_cluster"), "inbound|8080||");
  // Two requests, one connection, and no line of the connection.
  server_proxy_->LogLine(RequestTo("/second"));
  EXPECT_EQ(server_proxy_->Log().size(), 2U);
  EXPECT_EQ(
      server_proxy_->Metric(
          R"(istio_requests_total{reporter="destination",request_protocol="http",response_code="200"})"),
      2);
  EXPECT_EQ(
      client_proxy_->Metric(R"(istio_request_duration_milliseconds_count{reporter="source"})"), 2);
}

TEST_P(HttpTest, BodiesArriveAsTheyAre) {
  StartHttp();
  const Process python = StartPython();
  std::string data;
  for (int i = 0; data.size() < 3'000'000; ++i) data += std::to_string(i * 7919L);
  const auto digest = [&] {
    const CommandResult sum = RunCommand(client(), {.argv = {"sha256sum"}, .input = data});
    return sum.out.substr(0, 64);
  }();
  const std::string expected = std::to_string(data.size()) + " " + digest;
  // With Expect: 100-continue and a length, then in chunks, on one connection.
  const CommandResult sent = Curl(
      {"-T", "-", "-H", "Transfer-Encoding:", "-H",
       "Content-Length: " + std::to_string(data.size()), "-H", "Expect: 100-continue", Url("/put")},
      data);
  EXPECT_EQ(sent.out, expected) << sent.err;
  const CommandResult chunked = Curl({"-T", "-", "-H", "Expect:", Url("/chunks")}, data);
  EXPECT_EQ(chunked.out, expected) << chunked.err;
  const CommandResult got = Curl({"-D", "-", Url("/chunked?3000")});
  const std::size_t head = got.out.find("\r\n\r\n") + 4;
  ASSERT_EQ(got.out.size() - head - std::string("X-Sum: ").size() - 64 - 2, 3'000'000U) << got.err;
  const std::string until = Curl({"--http1.0", Url("/close")}).out;
  EXPECT_EQ(until, "until the end");
  const CommandResult headed = Curl({"-I", Url("/nothing")});
  EXPECT_THAT(headed.out, HasSubstr("Content-Length: 8"));
  const boost::json::object line = server_proxy_->LogLine(RequestTo("/chunks"));
  EXPECT_EQ(line.at("bytes_received").to_number<std::size_t>(), data.size());
  EXPECT_EQ(client_proxy_->LogLine(RequestTo("/chunked?3000")).at("bytes_sent"), 3'000'000);
}

TEST_P(HttpTest, TrailersAndPipelinedRequests) {
  StartHttp();
  const Process python = StartPython();
  auto peer = Peer::Connect(client(), ServerAt(kPort));
  ASSERT_TRUE(peer);
  peer->Send(
      "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
      "X-Forwarded-Client-Cert: forged\r\nX-Sum: 1\r\n\r\n"
      "GET /headers HTTP/1.1\r\nHost: a\r\nX-FORWARDED-CLIENT-CERT: forged\r\n"
      "Connection: X-Forwarded-Client-Cert\r\n\r\n"
      "HEAD /3 HTTP/1.1\r\nHost: a\r\n\r\nGET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  peer->EndSending();
  End end{};
  const std::string all = peer->ReceiveAll(end);
  EXPECT_EQ(end, End::kFin);
  EXPECT_THAT(all, HasSubstr(" X-Sum: 1HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(all, Not(HasSubstr("forged")));
  EXPECT_THAT(all, EndsWith("/4"));
  for (const char* path : {"/1", "/headers", "/3", "/4"}) {
    EXPECT_EQ(server_proxy_->LogLine(RequestTo(path)).at("response_code"), 200);
  }
}

TEST_P(HttpTest, AmbiguousRequestsReachNobody) {
  StartHttp();
  Acceptor acceptor(server(), GetParam());
  for (const std::string& request : proxy::AmbiguousRequests()) {
    auto peer = Peer::Connect(client(), ServerAt(acceptor.port()));
    ASSERT_TRUE(peer);
    peer->Send(request);
    End end{};
    EXPECT_THAT(peer->ReceiveAll(end), StartsWith("HTTP/1.1 400 Bad Request\r\n")) << request;
    EXPECT_EQ(end, End::kFin);
    peer->Close();
    // The connection as such came through both proxies, and nothing on it.
    auto application = acceptor.Accept();
    ASSERT_TRUE(application);
    EXPECT_EQ(application->Receive(1), "") << request;
  }
  const boost::json::object line = client_proxy_->LogLineTo(ServerAt(acceptor.port()));
  EXPECT_EQ(Text(line, "response_flags"), "DPE");
  EXPECT_EQ(line.at("response_code"), 400);
}

TEST_P(HttpTest, SaysWhatItCannotReach) {
  StartHttp();
  const std::uint16_t port = Acceptor(server(), GetParam()).port();
  const CommandResult result = Curl({"-i", Url("/gone", port)});
  EXPECT_THAT(result.out, StartsWith("HTTP/1.1 503 Service Unavailable\r\n")) << result.err;
  EXPECT_THAT(result.out, HasSubstr("upstream connect error or disconnect/reset before headers"));
  const boost::json::object in = server_proxy_->LogLine(RequestTo("/gone"));
  EXPECT_EQ(Text(in, "response_flags"), "UF,URX");
  EXPECT_EQ(in.at("response_code"), 503);
  EXPECT_EQ(Text(in, "upstream_transport_failure_reason"),
            "delayed_connect_error:_Connection_refused");
  // To the client's proxy it is an answer like any other.
  EXPECT_EQ(Text(client_proxy_->LogLine(RequestTo("/gone")), "response_flags"), "-");
  // Whoever speaks something else is reset, as without HTTP.
  auto other = Peer::Connect(client(), ServerAt(port));
  ASSERT_TRUE(other);
  other->Send("SSH-2.0-x\r\n");
  EXPECT_EQ(other->WaitForEnd(), End::kReset);
  EXPECT_EQ(
      server_proxy_->Metric(
          R"(sluice_tcp_connections_failed_total{reporter="destination",reason="connect_refused"})"),
      2);
}

TEST_P(HttpTest, AnswersForAServerThatIsGone) {
  StartHttp();
  Acceptor acceptor(server(), GetParam());
  for (const bool reset : {false, true}) {
    auto pair = Connected(acceptor);
    ASSERT_TRUE(pair);
    const std::string path = reset ? "/reset" : "/end";
    pair->client.Send("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_EQ(pair->server.Receive(4), "GET ");
    // What is not read would turn an end into a reset.
    std::string rest;
    while (!rest.ends_with("\r\n\r\n")) {
      const std::string byte = pair->server.Receive(1);
      ASSERT_FALSE(byte.empty());
      rest += byte;
    }
    if (reset) {
      pair->server.Reset();
    } else {
      pair->server.Close();
    }
    End end{};
    EXPECT_THAT(pair->client.ReceiveAll(end), StartsWith("HTTP/1.1 503 "));
    EXPECT_EQ(end, End::kFin);
    pair->client.Close();
    EXPECT_EQ(Text(server_proxy_->LogLine(RequestTo(path)), "response_flags"), "UC");
  }
}

TEST_P(HttpTest, WhatIsNotHttpPasses) {
  StartHttp();
  Acceptor acceptor(server(), GetParam());
  auto first = Connected(acceptor);
  ASSERT_TRUE(first);
  first->server.Send("220 ready\r\n");
  EXPECT_EQ(first->client.Receive(11), "220 ready\r\n");
  first->client.Send("GET / HTTP/1.1\r\nX: y\r\n\r\n");
  EXPECT_EQ(first->server.Receive(24), "GET / HTTP/1.1\r\nX: y\r\n\r\n");
  first->client.Close();
  first->server.Close();
  // It could become a request, and is passed on all the same.
  auto letters = Connected(acceptor);
  ASSERT_TRUE(letters);
  letters->client.Send("hello");
  EXPECT_EQ(letters->server.Receive(5), "hello");
  letters->server.Send("welcome");
  EXPECT_EQ(letters->client.Receive(7), "welcome");
  letters->client.Close();
  letters->server.Close();
  auto http2 = Connected(acceptor);
  ASSERT_TRUE(http2);
  const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  http2->client.Send(preface + "rest");
  EXPECT_EQ(http2->server.Receive(preface.size() + 4), preface + "rest");
  // It is counted behind the bytes that show it.
  EXPECT_TRUE(Eventually([&] {
    return client_proxy_->Metric(R"(sluice_http2_connections_total{reporter="source"})") == 1;
  }));
}

TEST_P(HttpTest, WebSocket) {
  StartHttp();
  Acceptor acceptor(server(), GetParam());
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  pair->client.Send(
      "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  ASSERT_THAT(pair->server.Receive(12), "GET /ws HTTP");
  pair->server.Send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\nfrom server");
  std::string got;
  while (!got.ends_with("from server")) {
    const std::string byte = pair->client.Receive(1);
    ASSERT_FALSE(byte.empty()) << got;
    got += byte;
  }
  EXPECT_THAT(got, StartsWith("HTTP/1.1 101 "));
  pair->client.Send("\x81\x05hello");
  std::string frames;
  while (!frames.ends_with("\x81\x05hello")) {
    const std::string byte = pair->server.Receive(1);
    ASSERT_FALSE(byte.empty()) << frames;
    frames += byte;
  }
  pair->client.EndSending();
  EXPECT_EQ(pair->server.WaitForEnd(), End::kFin);
  pair->server.Close();
  EXPECT_EQ(pair->client.WaitForEnd(), End::kFin);
  const boost::json::object line = server_proxy_->LogLine(RequestTo("/ws"));
  EXPECT_EQ(line.at("response_code"), 101);
  EXPECT_EQ(line.at("bytes_received"), 7);
  EXPECT_EQ(line.at("bytes_sent"), 11);
}

TEST_P(HttpTest, DrainsBetweenAnswers) {
  StartHttp();
  Acceptor acceptor(server(), GetParam());
  auto pair = Connected(acceptor);
  ASSERT_TRUE(pair);
  pair->client.Send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_EQ(pair->server.Receive(6), "GET /1");
  pair->server.Send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfi");
  std::string got;
  while (!got.ends_with("\r\n\r\nfi")) got += pair->client.Receive(1);
  server_proxy_->process().Signal(SIGTERM);
  ASSERT_TRUE(Eventually([&] { return server_proxy_->Metric("sluice_draining") == 1; }));
  pair->server.Send("rs");
  EXPECT_EQ(pair->client.Receive(2), "rs");
  pair->client.Send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
  std::string second;
  while (second.find("GET /2") == std::string::npos) {
    const std::string byte = pair->server.Receive(1);
    ASSERT_FALSE(byte.empty()) << second;
    second += byte;
  }
  pair->server.Send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond");
  End end{};
  const std::string last = pair->client.ReceiveAll(end);
  EXPECT_THAT(last, HasSubstr("\r\nconnection: close\r\n"));
  EXPECT_THAT(last, EndsWith("second"));
  EXPECT_EQ(end, End::kFin);
}

}  // namespace
}  // namespace sluice::testing_support
