// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/control/admin.h"

#include <string>
#include <utility>
#include <vector>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::proxy {
namespace {

class AdminTest : public testing::Test {
 protected:
  AdminTest() {
    backend_.config = &config_;
    backend_.stats = &stats_;
    backend_.history = &history_;
    backend_.facts = [] {
      return PageFacts{.version = "1.2.3", .commit = "abc", .state = "serving"};
    };
    backend_.metrics = [] { return std::string("metrics\n"); };
    backend_.connections = [this] { return std::vector<ConnectionInfo>(connections_); };
    backend_.drain = [this] { ++drains_; };
  }

  HttpResponse Serve(HttpRequest request) const { return ServeAdmin(request, backend_); }
  int Status(HttpRequest request) const { return Serve(std::move(request)).status; }

  static HttpRequest Drain() {
    return {.method = "POST", .path = "/drain", .query = "", .host = "localhost:15000"};
  }
  static HttpRequest List() {
    return {.method = "GET", .path = "/connections", .query = "", .host = "localhost:15000"};
  }

  // The whole of an answer.
  std::string Text(const HttpRequest& request) const {
    const HttpResponse answer = Serve(request);
    std::string text = answer.body;
    while (answer.next_piece) {
      const std::string piece = answer.next_piece();
      if (piece.empty()) break;
      text += piece;
    }
    return text;
  }
  static HttpRequest Page() {
    return {.method = "GET", .path = "/", .query = "", .host = "localhost:15000"};
  }

  ProxyConfig config_;
  Stats stats_{2};
  History history_;
  AdminBackend backend_;
  std::size_t connections_ = 0;
  int drains_ = 0;
};

TEST_F(AdminTest, ServesLoopbackByItsNamesOnly) {
  HttpRequest request = Drain();
  for (const char* const host : {"", "localhost", "127.0.0.1", "127.0.0.1:15000", "[::1]",
                                 "[::1]:15000", "localhost:8080"}) {
    request.host = host;
    EXPECT_EQ(Status(request), 200) << host;
  }
  const int drains = drains_;
  for (const char* const host :
       {"evil.example", "evil.example:15000", "localhost.evil.example", "127.0.0.1.evil.example",
        "10.0.0.7:15000", "[::1].evil.example", "[::2]:15000", ":15000"}) {
    request.host = host;
    EXPECT_EQ(Status(request), 403) << host;
  }
  EXPECT_EQ(drains_, drains);
}

TEST_F(AdminTest, RefusesWhatAWebPageSends) {
  HttpRequest request = Drain();
  for (const char* const origin : {"http://evil.example", "null", "http://localhost:15000"}) {
    request.origin = origin;
    EXPECT_EQ(Status(request), 403) << origin;
  }
  request.origin = "";
  for (const char* const site : {"cross-site", "same-site"}) {
    request.fetch_site = site;
    EXPECT_EQ(Status(request), 403) << site;
  }
  EXPECT_EQ(drains_, 0);
  request.fetch_site = "none";
  EXPECT_EQ(Status(request), 200) << "typed into a browser";
}

TEST_F(AdminTest, AsksForTheToken) {
  backend_.token = "s3cret";
  for (HttpRequest request : {Drain(), List()}) {
    for (const char* const shown : {"", "s3cret", "Bearer ", "Bearer s3creT", "Bearer s3crets",
                                    "Basic s3cret", "Bearer  s3cret"}) {
      request.authorization = shown;
      EXPECT_EQ(Status(request), 401) << request.path << shown;
    }
    EXPECT_EQ(drains_, 0);
    request.authorization = "Bearer s3cret";
    EXPECT_EQ(Status(request), 200) << request.path;
    drains_ = 0;
  }
  for (const char* const path : {"/logging", "/config_dump", "/stats", "/nothing"}) {
    EXPECT_EQ(Status({.method = "GET", .path = path, .query = ""}), 401) << path;
  }
}

TEST_F(AdminTest, ListsConnectionsInBoundedPieces) {
  for (const std::size_t count : {0, 1, 5000}) {
    connections_ = count;
    const HttpResponse answer = Serve(List());
    std::string text = answer.body;
    int pieces = 0;
    for (std::string piece; !(piece = answer.next_piece()).empty(); ++pieces) {
      EXPECT_LT(piece.size(), 20'000U);
      text += piece;
    }
    EXPECT_EQ(boost::json::parse(text).as_object().at("connections").as_array().size(), count);
    EXPECT_GE(pieces, count > 1 ? 10 : 1);
  }
}

TEST_F(AdminTest, DrawsAPage) {
  connections_ = 2;
  stats_.worker(0).of(Direction::kOutbound).opened.Add(7);
  stats_.worker(1).of(Direction::kInbound).Count(Failure::kConnectRefused);
  const std::string text = Text(Page());
  EXPECT_THAT(text, testing::StartsWith("<!DOCTYPE html>"));
  EXPECT_THAT(text, testing::HasSubstr("sluice-proxy is serving"));
  EXPECT_THAT(text, testing::HasSubstr("Version 1.2.3 (abc)"));
  EXPECT_THAT(text, testing::HasSubstr("<td class=\"n\">15006<td>REDIRECT"));
  EXPECT_THAT(text, testing::HasSubstr("connect_refused<td class=\"n\">0<td class=\"n\">1"));
  EXPECT_THAT(text, testing::ContainsRegex("(<tr><td>outbound<td>[^\n]*\n){2}</tbody></table>"));
  EXPECT_THAT(text, testing::EndsWith("</html>\n"));
}

TEST_F(AdminTest, DrawsABoundedNumberOfConnections) {
  connections_ = 5000;
  const std::string text = Text(Page());
  EXPECT_THAT(text, testing::HasSubstr("2000 of 5000; <a href=\"/connections\">"));
  std::size_t rows = 0;
  for (std::size_t at = 0; (at = text.find("<tr><td>outbound", at)) != std::string::npos; ++at) {
    ++rows;
  }
  EXPECT_EQ(rows, 2000U);
}

TEST_F(AdminTest, ThePageIsForWhoeverMaySeeTheRest) {
  backend_.token = "s3cret";
  EXPECT_EQ(Status(Page()), 401);
  HttpRequest post = Page();
  post.authorization = "Bearer s3cret";
  EXPECT_EQ(Status(post), 200);
  post.method = "POST";
  EXPECT_EQ(Status(post), 405);
}

TEST(History, HasRatesBetweenItsSamples) {
  Stats stats(2);
  History history;
  History::Clock::time_point now{};
  history.Add(stats, now);
  EXPECT_TRUE(history.Rates(Direction::kInbound, &DirectionTotals::opened).empty());
  stats.worker(0).of(Direction::kInbound).opened.Add(30);
  stats.worker(1).of(Direction::kInbound).opened.Add(20);
  stats.worker(1).of(Direction::kInbound).CountClosed(Security::kNone, std::chrono::seconds(1));
  stats.worker(1).of(Direction::kInbound).sockets_open.Add(49);
  stats.worker(1).of(Direction::kInbound).Count(Failure::kClientReset);
  stats.worker(1).of(Direction::kInbound).Count(Failure::kLoop);
  history.Add(stats, now += std::chrono::seconds(10));
  history.Add(stats, now += std::chrono::seconds(5));
  EXPECT_THAT(history.Rates(Direction::kInbound, &DirectionTotals::opened),
              testing::ElementsAre(5.0, 0.0));
  EXPECT_THAT(history.Rates(Direction::kInbound, &DirectionTotals::failed),
              testing::ElementsAre(0.1, 0.0));
  EXPECT_THAT(history.Rates(Direction::kOutbound, &DirectionTotals::opened),
              testing::ElementsAre(0.0, 0.0));
  EXPECT_EQ(history.samples().back().of(Direction::kInbound).active, 49U);
}

TEST(History, IsBounded) {
  const Stats stats(1);
  History history;
  for (std::size_t i = 0; i < 3 * History::kMaxSamples; ++i) {
    history.Add(stats, History::Clock::time_point{} + i * History::kInterval);
  }
  EXPECT_EQ(history.samples().size(), History::kMaxSamples);
  EXPECT_EQ(history.Rates(Direction::kInbound, &DirectionTotals::opened).size(),
            History::kMaxSamples - 1);
}

TEST_F(AdminTest, KeepsOnlyAFewListsOfConnections) {
  connections_ = 1;
  std::vector<HttpResponse> answers;
  for (int i = 0; i < 2; ++i) answers.push_back(Serve(List()));
  EXPECT_EQ(answers.back().status, 200);
  EXPECT_EQ(Status(List()), 503);
  answers.pop_back();  // read to its end, or abandoned
  EXPECT_EQ(Status(List()), 200);
}

}  // namespace
}  // namespace sluice::proxy
