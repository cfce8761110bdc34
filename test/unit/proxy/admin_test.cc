// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/control/admin.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
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
  History history_{2, History::Clock::now()};
  AdminBackend backend_;
  std::size_t connections_ = 0;
  int drains_ = 0;
};

TEST_F(AdminTest, ServesLoopbackByItsNamesOnly) {
  HttpRequest request = Drain();
  for (const char* const host :
       {"", "localhost", "127.0.0.1", "127.0.0.1:15000", "[::1]", "[::1]:15000", "localhost:8080",
        "LOCALHOST", "LocalHost:15000", "localhost.", "LOCALHOST.:15000", "localhost:"}) {
    request.host = host;
    EXPECT_EQ(Status(request), 200) << host;
  }
  const int drains = drains_;
  for (const char* const host :
       {"evil.example", "evil.example:15000", "localhost.evil.example", "127.0.0.1.evil.example",
        "10.0.0.7:15000", "[::1].evil.example", "[::2]:15000", ":15000", "LOCALHOST.EVIL.EXAMPLE",
        "evil.localhost.", "localhost..", "localhost:evil", "localhost:80:80", "localhost1", ".",
        ":", "x[::1]", "::1", "localhost\xff"}) {
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

class RulesPictureTest : public AdminTest {
 protected:
  RulesPictureTest() { config_.rules_graph = path_; }
  ~RulesPictureTest() override { std::filesystem::remove(path_); }

  std::string PageWith(const std::string& picture) const {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << picture;
    return Text(Page());
  }

  const std::string path_ = testing::TempDir() + "rules<" + std::to_string(getpid()) + ".svg";
};

TEST_F(RulesPictureTest, IsAnImage) {
  // base64 of it
  EXPECT_THAT(PageWith("<svg xmlns='a'></svg>\n"),
              testing::ContainsRegex("<p>Drawn [0-9]+s ago; the numbers are packets.</p>\n"
                                     "<div id=\"rules\"><img alt=\"The rules of netfilter\" src=\""
                                     "data:image/svg\\+xml;base64,"
                                     "PHN2ZyB4bWxucz0nYSc\\+PC9zdmc\\+Cg==\"></div>"));
  EXPECT_THAT(Text(Page()), testing::HasSubstr("img-src data:\""));
}

TEST_F(RulesPictureTest, SaysWhyThereIsNone) {
  EXPECT_THAT(Text(Page()), testing::HasSubstr("There is no picture: No such file or directory."));
  for (const std::string& bad : {std::string(), std::string("<html></html>"), std::string("<svg "),
                                 std::string("</svg>\n")}) {
    EXPECT_THAT(PageWith(bad), testing::HasSubstr("There is no picture: it is not what "
                                                  "sluice-init graph --output svg writes."))
        << bad;
  }
  const std::string end = "</svg>\n";
  std::string large = "<svg " + std::string(kMostPictureBytes - 5 - end.size(), ' ') + end;
  EXPECT_THAT(PageWith(large), testing::HasSubstr("<img "));
  large.insert(5, " ");
  EXPECT_THAT(PageWith(large),
              testing::AllOf(testing::HasSubstr("There is no picture: it is larger than 4 MiB."),
                             testing::Not(testing::HasSubstr("<img "))));
}

TEST_F(RulesPictureTest, DoesNotWaitForAPipe) {
  std::filesystem::remove(path_);
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_THAT(Text(Page()), testing::HasSubstr("There is no picture: it is no regular file."));
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

constexpr History::Clock::time_point kStart{std::chrono::hours(7)};

TEST(History, HasRatesBetweenItsSamples) {
  Stats stats(2);
  History history(2, kStart);
  const auto rates = [&](Direction direction, std::uint64_t DirectionTotals::*total,
                         History::Clock::time_point now) {
    return Rates(history.Samples(stats, now), direction, total);
  };
  EXPECT_EQ(history.Note(0, stats.worker(0), kStart), kStart + std::chrono::seconds(10));
  stats.worker(0).of(Direction::kInbound).opened.Add(30);
  EXPECT_EQ(history.Note(1, stats.worker(1), kStart + std::chrono::seconds(9)),
            kStart + std::chrono::seconds(10));
  stats.worker(1).of(Direction::kInbound).opened.Add(20);
  stats.worker(1).of(Direction::kInbound).CountClosed(Security::kNone, std::chrono::seconds(1));
  stats.worker(1).of(Direction::kInbound).sockets_open.Add(49);
  stats.worker(1).of(Direction::kInbound).Count(Failure::kClientReset);
  stats.worker(1).of(Direction::kInbound).Count(Failure::kLoop);
  EXPECT_TRUE(
      rates(Direction::kInbound, &DirectionTotals::opened, kStart + std::chrono::milliseconds(9999))
          .empty());
  const auto now = kStart + std::chrono::seconds(29);
  EXPECT_THAT(rates(Direction::kInbound, &DirectionTotals::opened, now),
              testing::ElementsAre(5.0, 0.0));
  EXPECT_THAT(rates(Direction::kInbound, &DirectionTotals::failed, now),
              testing::ElementsAre(0.1, 0.0));
  EXPECT_THAT(rates(Direction::kOutbound, &DirectionTotals::opened, now),
              testing::ElementsAre(0.0, 0.0));
  EXPECT_EQ(history.Samples(stats, now).back().of(Direction::kInbound).active, 49U);
}

// Each worker sleeps for as long as it likes, and what it counts then belongs to the time after.
TEST(History, FillsWhatWorkersSleepThrough) {
  Stats stats(2);
  History history(2, kStart);
  Counter& first = stats.worker(0).of(Direction::kOutbound).opened;
  Counter& second = stats.worker(1).of(Direction::kOutbound).opened;
  history.Note(0, stats.worker(0), kStart + std::chrono::seconds(3));
  first.Add(10);
  history.Note(1, stats.worker(1), kStart + std::chrono::seconds(25));
  second.Add(20);
  EXPECT_EQ(history.Note(0, stats.worker(0), kStart + std::chrono::seconds(41)),
            kStart + std::chrono::seconds(50));
  first.Add(40);
  const auto rates = [&](int seconds) {
    return Rates(history.Samples(stats, kStart + std::chrono::seconds(seconds)),
                 Direction::kOutbound, &DirectionTotals::opened);
  };
  EXPECT_THAT(rates(49), testing::ElementsAre(1.0, 0.0, 2.0, 0.0));
  EXPECT_THAT(rates(65), testing::ElementsAre(1.0, 0.0, 2.0, 0.0, 4.0, 0.0));
  EXPECT_THAT(rates(65), testing::ElementsAre(1.0, 0.0, 2.0, 0.0, 4.0, 0.0)) << "asked again";
  // All of it has left the ten minutes, and nobody has woken up.
  EXPECT_THAT(rates(100'000),
              testing::AllOf(testing::SizeIs(History::kMaxSamples - 1), testing::Each(0.0)));
}

TEST(History, IsBounded) {
  Stats stats(1);
  History history(1, kStart);
  for (std::size_t i = 0; i < 3 * History::kMaxSamples; ++i) {
    history.Note(0, stats.worker(0), kStart + i * History::kInterval);
    stats.worker(0).of(Direction::kInbound).opened.Add(10 * i);
    const auto samples = history.Samples(stats, kStart + i * History::kInterval);
    ASSERT_EQ(samples.size(), std::min(i + 1, History::kMaxSamples));
    const std::vector<double> rates = Rates(samples, Direction::kInbound, &DirectionTotals::opened);
    // Of the i-th interval: what was counted after the sample before.
    for (std::size_t k = 0; k < rates.size(); ++k) {
      ASSERT_EQ(rates[rates.size() - 1 - k], static_cast<double>(i - 1 - k)) << i;
    }
  }
}

// A reader that has looked at the clock just before a worker noted the next sample.
TEST(History, IsReadWhileItGrows) {
  Stats stats(1);
  History history(1, kStart);
  for (std::size_t i = 0; i < 2 * History::kMaxSamples; ++i) {
    history.Note(0, stats.worker(0), kStart + i * History::kInterval);
    stats.worker(0).of(Direction::kInbound).opened.Add(10);
  }
  const auto samples =
      history.Samples(stats, kStart + (2 * History::kMaxSamples - 2) * History::kInterval);
  EXPECT_THAT(Rates(samples, Direction::kInbound, &DirectionTotals::opened),
              testing::AllOf(testing::SizeIs(History::kMaxSamples - 1), testing::Each(1.0)));
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
