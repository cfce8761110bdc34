// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/sniff/sniff_http.h"

#include <string>
#include <string_view>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/proxy/sniff_answer.h"

namespace sluice::proxy {
namespace {

Answer Read(std::string_view text, std::size_t piece = 100000) {
  HttpRequestHead parser;
  Answer answer;
  while (!text.empty() && answer.status == SniffStatus::kNeedMore) {
    answer.status = parser.Feed(AsBytes(text.substr(0, piece)), answer.seen);
    text.remove_prefix(std::min(piece, text.size()));
  }
  return answer;
}

// The authority and path of "GET `target`" with `headers`.
std::string Place(const std::string& target, const std::string& headers = "Host: h\r\n") {
  const Answer answer = Read("GET " + target + " HTTP/1.1\r\n" + headers + "\r\n");
  return answer.seen.authority + " " + answer.seen.path;
}

constexpr std::string_view kRequest =
    "GET /productpage?u=normal HTTP/1.1\r\n"
    "Host: productpage:9080\r\n"
    "User-Agent: curl/7.88.1\r\n"
    "Accept: */*\r\n"
    "\r\n";

TEST(HttpRequestHead, ReadsARequest) {
  const Answer answer = Read(kRequest);
  EXPECT_EQ(answer.status, SniffStatus::kDone);
  EXPECT_EQ(answer.seen.spoken, Spoken::kHttp1);
  EXPECT_EQ(answer.seen.method, "GET");
  EXPECT_EQ(answer.seen.path, "/productpage?u=normal");
  EXPECT_EQ(answer.seen.protocol, "HTTP/1.1");
  EXPECT_EQ(answer.seen.authority, "productpage:9080");
  EXPECT_EQ(answer.seen.user_agent, "curl/7.88.1");
}

TEST(HttpRequestHead, ReadsTheFirstOfPipelinedRequests) {
  EXPECT_EQ(Read(std::string(kRequest) + "GET /2 HTTP/1.1\r\nHost: other\r\n\r\n"), Read(kRequest));
}

TEST(HttpRequestHead, DoesNotCareHowTheBytesArrive) {
  for (std::size_t piece = 1; piece < kRequest.size(); ++piece) {
    EXPECT_EQ(Read(kRequest, piece), Read(kRequest)) << piece;
  }
}

TEST(HttpRequestHead, KnowsAtEveryTruncationWhatWasComplete) {
  const std::size_t line = kRequest.find('\n') + 1;
  const std::size_t host = kRequest.find('\n', line) + 1;
  for (std::size_t length = 0; length < kRequest.size(); ++length) {
    const Answer answer = Read(kRequest.substr(0, length));
    EXPECT_EQ(answer.status, SniffStatus::kNeedMore) << length;
    EXPECT_EQ(answer.seen.method, length < line ? "" : "GET") << length;
    EXPECT_EQ(answer.seen.authority, length < host ? "" : "productpage:9080") << length;
  }
}

TEST(HttpRequestHead, TakesWhatLenientServersTake) {
  EXPECT_EQ(Read("GET / HTTP/1.0\nhOST:h\nUSER-AGENT:\t a\t \n\n").seen.user_agent, "a");
  EXPECT_EQ(Read("GET / HTTP/1.0\nhOST:h\n\n").seen.authority, "h");
  EXPECT_EQ(Read("GET / HTTP/1.0\r\n\r\n").seen.protocol, "HTTP/1.0");
  EXPECT_EQ(Read("M-SEARCH * HTTP/1.1\r\n\r\n").seen.method, "M-SEARCH");
}

TEST(HttpRequestHead, KnowsTheFormsOfATarget) {
  EXPECT_EQ(Place("/"), "h /");
  EXPECT_EQ(Place("*"), "h *");
  EXPECT_EQ(Place("http://a.example:8080/x?y#z"), "a.example:8080 /x?y#z");
  EXPECT_EQ(Place("http://a.example"), "a.example /");
  EXPECT_EQ(Place("http://a.example?q"), "a.example /?q");
  EXPECT_EQ(Place("http://user:secret@a.example/"), "a.example /");
  EXPECT_EQ(Place("http://a.example/", ""), "a.example /");
  EXPECT_EQ(Place("http:///x"), " /x");
  EXPECT_EQ(Place("/login?next=http://a.example/"), "h /login?next=http://a.example/");

  const Answer connect = Read("CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(connect.seen.authority, "[2001:db8::1]:443");
  EXPECT_EQ(connect.seen.path, "");
}

TEST(HttpRequestHead, BelievesOnlyOneGoodHost) {
  EXPECT_EQ(Place("/", ""), " /");
  EXPECT_EQ(Place("/", "Host:\r\n"), " /");
  EXPECT_EQ(Place("/", "Host: [2001:db8::1]:80\r\n"), "[2001:db8::1]:80 /");
  EXPECT_EQ(Place("/", "Host: a\r\nHost: b\r\n"), " /");
  EXPECT_EQ(Place("/", "Host: a b\r\n"), " /");
  EXPECT_EQ(Place("/", "Host: a\"\r\n"), " /");
  EXPECT_EQ(Place("/", "Host: a\rb\r\n"), " /");
  EXPECT_EQ(Place("/", "Host: caf\xc3\xa9\r\n"), " /");
  EXPECT_EQ(Place("/", "Hosts: a\r\nX-Host: b\r\nHos: c\r\n"), " /");
  EXPECT_EQ(Place("/", "Host: " + std::string(kMaxAuthority, 'a') + "\r\n"),
            std::string(kMaxAuthority, 'a') + " /");
  EXPECT_EQ(Place("/", "Host: " + std::string(kMaxAuthority + 1, 'a') + "\r\n"), " /");
  EXPECT_EQ(Place("/", "Host: " + std::string(kMaxAuthority + 1, 'a') + "  b\r\n"), " /");
}

TEST(HttpRequestHead, HandlesFoldedLines) {
  EXPECT_EQ(Place("/", "Host: a\r\n b\r\n"), " /");
  EXPECT_EQ(Place("/", "Host: a\r\n\r\n"), "a /");
  EXPECT_EQ(Place("/", "X: 1\r\n Host: evil\r\nHost: a\r\n"), "a /");
  EXPECT_EQ(Place("http://a.example/", "Host: b\r\n c\r\n"), "a.example /");
  const Answer folded = Read("GET / HTTP/1.1\r\nUser-Agent: a\r\n\t b\r\n c\r\nHost: h\r\n\r\n");
  EXPECT_EQ(folded.seen.user_agent, "a b c");
  EXPECT_EQ(folded.seen.authority, "h");
}

TEST(HttpRequestHead, BoundsEveryText) {
  const std::string path = "/" + std::string(5000, 'p');
  const std::string agent(5000, 'u');
  const Answer answer =
      Read("GET " + path + " HTTP/1.1\r\nUser-Agent: " + agent + "\r\n " + agent + "\r\n\r\n");
  EXPECT_EQ(answer.status, SniffStatus::kDone);
  EXPECT_EQ(answer.seen.path, path.substr(0, kMaxPath));
  EXPECT_EQ(answer.seen.user_agent, agent.substr(0, kMaxUserAgent));
  EXPECT_EQ(Read(std::string(kMaxMethod, 'A') + " / HTTP/1.1\r\n").seen.method.size(), kMaxMethod);
  EXPECT_EQ(Read(std::string(kMaxMethod + 1, 'A')).status, SniffStatus::kNotRecognised);
  // Not cut inside an escape.
  const std::string wide = "/" + std::string(kMaxPath, '\xff');
  const std::string kept = Read("GET " + wide + " HTTP/1.1\r\n").seen.path;
  EXPECT_EQ(kept.size(), kMaxPath);
  EXPECT_EQ(kept.substr(kept.size() - 6), "%FF%FF");
}

TEST(HttpRequestHead, KeepsPrintableTextOnly) {
  EXPECT_EQ(Place("/caf\xc3\xa9"), "h /caf%C3%A9");
  EXPECT_EQ(Read("GET / HTTP/1.1\r\nUser-Agent: a\x01\x1b\xc3z\r\n\r\n").seen.user_agent, "a???z");
}

TEST(HttpRequestHead, StopsAtAFaultyHeaderWithWhatItHas) {
  for (const char* fault : {"Bad Header: x\r\n", ": x\r\n", "NoColon\r\n", "\rX"}) {
    const Answer answer = Read("GET / HTTP/1.1\r\nHost: a\r\n" + std::string(fault));
    EXPECT_EQ(answer.status, SniffStatus::kDone) << fault;
    EXPECT_EQ(answer.seen.authority, "a") << fault;
  }
}

TEST(HttpRequestHead, KnowsThePrefaceOfHttp2) {
  constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  const Answer answer = Read(kPreface);
  EXPECT_EQ(answer.status, SniffStatus::kDone);
  EXPECT_EQ(answer.seen.spoken, Spoken::kHttp2);
  EXPECT_EQ(answer.seen.protocol, "HTTP/2");
  EXPECT_EQ(answer.seen.method, "");
  for (std::size_t at = 0; at < kPreface.size(); ++at) {
    EXPECT_EQ(Read(kPreface.substr(0, at)), Answer{}) << at;
    std::string broken(kPreface.substr(0, at + 1));
    broken.back() = '\x01';
    EXPECT_EQ(Read(broken).status, SniffStatus::kNotRecognised) << at;
  }
}

// Client-first protocols that begin like HTTP: refused within their first line.
TEST(HttpRequestHead, RefusesOtherProtocolsWithoutWaiting) {
  for (const std::string_view text : {
           std::string_view("SSH-2"),
           std::string_view("PING\r"),
           std::string_view("EHLO a.example\r"),
           std::string_view("GET /\r"),
           std::string_view("GET  "),
           std::string_view("GET /a\t"),
           std::string_view("GET / HTTP/3"),
           std::string_view("GET / HTTP/2"),
           std::string_view("GET / HTTP/1.2"),
           std::string_view("GET / HTTQ"),
           std::string_view("GET / HTTP/1.1x"),
           std::string_view("GET / HTTP/1.1\r\r"),
           std::string_view("G\0", 2),
           std::string_view("Ge"),
           std::string_view("\x7f"),
           std::string_view("-"),
           std::string_view(" "),
       }) {
    EXPECT_EQ(Read(text).status, SniffStatus::kNotRecognised) << text;
    EXPECT_EQ(Read(text.substr(0, text.size() - 1)).status, SniffStatus::kNeedMore) << text;
  }
}

std::string Status(std::string_view text, std::size_t piece = 100000) {
  HttpStatusLine parser;
  SniffStatus status = SniffStatus::kNeedMore;
  while (!text.empty() && status == SniffStatus::kNeedMore) {
    status = parser.Feed(AsBytes(text.substr(0, piece)));
    text.remove_prefix(std::min(piece, text.size()));
  }
  if (status == SniffStatus::kNeedMore) return "more";
  if (status == SniffStatus::kNotRecognised) return "refused";
  return std::string(parser.protocol()) + " " + std::to_string(parser.code());
}

TEST(HttpStatusLine, ReadsTheCode) {
  EXPECT_EQ(Status("HTTP/1.1 200 OK\r\n"), "HTTP/1.1 200");
  EXPECT_EQ(Status("HTTP/1.0 599\r\n"), "HTTP/1.0 599");
  EXPECT_EQ(Status("HTTP/1.1 404\n"), "HTTP/1.1 404");
  EXPECT_EQ(Status("HTTP/1.1 101 Switching Protocols\r\n"), "HTTP/1.1 101");
  EXPECT_EQ(Status("HTTP/1.1 200"), "more");
}

TEST(HttpStatusLine, PassesOverInterimResponses) {
  constexpr std::string_view kInterim =
      "HTTP/1.1 100 Continue\r\n\r\n"
      "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
      "HTTP/1.1 100\n\n"
      "HTTP/1.0 201 Created\r\n";
  for (std::size_t piece = 1; piece < 30; ++piece) {
    EXPECT_EQ(Status(kInterim, piece), "HTTP/1.0 201") << piece;
  }
  EXPECT_EQ(Status("HTTP/1.1 100 Continue\r\n\r\n"), "more");
  EXPECT_EQ(Status("HTTP/1.1 100 Continue\r\n\r\nX"), "refused");
}

TEST(HttpStatusLine, RefusesTheFirstImpossibleByte) {
  for (const char* text : {"220", "SSH", "HTTP/2", "HTTP/1.2", "HTTP/1.1\r", "HTTP/1.1 0",
                           "HTTP/1.1 6", "HTTP/1.1 2x", "HTTP/1.1 2000", "HTTP/1.1 -"}) {
    EXPECT_EQ(Status(text), "refused") << text;
  }
}

}  // namespace
}  // namespace sluice::proxy
