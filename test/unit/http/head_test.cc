// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/http/head.h"

#include <string>

#include <gtest/gtest.h>

#include "proxy/http/http_config.h"
#include "proxy/http/ids.h"
#include "test/unit/http/ambiguous.h"
#include "test/unit/http/drive.h"

namespace sluice::proxy {
namespace {

using namespace std::string_literals;  // NOLINT(google-build-using-namespace): strings with NUL

TEST(HttpHead, ReadsARequest) {
  RequestHead head;
  const std::string text =
      "POST /cart?id=1 HTTP/1.1\r\nHost: cart:80\r\nContent-Length:  12 \r\nX-Empty:\r\n\r\n";
  ASSERT_EQ(ParseRequestHead(text, head), nullptr);
  EXPECT_EQ(head.method, "POST");
  EXPECT_EQ(head.target, "/cart?id=1");
  EXPECT_TRUE(head.is_http11);
  EXPECT_EQ(head.body.kind, BodyKind::kLength);
  EXPECT_EQ(head.body.length, 12U);
  ASSERT_EQ(head.fields.size(), 3U);
  EXPECT_EQ(head.fields[0].name, "Host");
  EXPECT_EQ(head.fields[0].value, "cart:80");
  EXPECT_EQ(head.fields[1].line, "Content-Length:  12 \r\n");
  EXPECT_EQ(head.fields[2].value, "");
}

TEST(HttpHead, KnowsWhereAnAnswerEnds) {
  struct Case {
    const char* fields;
    BodyKind kind;
    bool to_head = false;
    const char* status = "200 OK";
  };
  for (const Case& each : {Case{"", BodyKind::kUntilClose},
                           {"Content-Length: 0\r\n", BodyKind::kNone},
                           {"Content-Length: 5\r\n", BodyKind::kLength},
                           {"Content-Length: 5\r\n", BodyKind::kNone, true},
                           {"Content-Length: 5\r\n", BodyKind::kNone, false, "304 Not Modified"},
                           {"", BodyKind::kNone, false, "204"},
                           {"", BodyKind::kNone, false, "100 Continue"},
                           {"Transfer-Encoding: Chunked\r\n", BodyKind::kChunked},
                           {"Transfer-Encoding: chunked\r\n", BodyKind::kNone, true}}) {
    ResponseHead head;
    const std::string text = "HTTP/1.1 "s + each.status + "\r\n" + each.fields + "\r\n";
    EXPECT_EQ(ParseResponseHead(text, each.to_head, head), nullptr) << text;
    EXPECT_EQ(head.body.kind, each.kind) << text;
  }
}

TEST(HttpHead, RefusesWhatServersReadDifferently) {
  for (const std::string& request : AmbiguousRequests()) {
    DrivenExchange driven;
    driven.FromClient(request);
    EXPECT_EQ(driven.to_server(), "") << request;
    EXPECT_TRUE(driven.to_client().starts_with("HTTP/1.1 400 ")) << request << driven.to_client();
    EXPECT_TRUE(driven.response.ended() && driven.cut()) << request;
    driven.FromClient("GET /second HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_EQ(driven.to_server(), "") << request;
  }
}

TEST(HttpHead, RefusesAnswersThatClientsReadDifferently) {
  for (const std::string& answer : AmbiguousAnswers()) {
    DrivenExchange driven;
    driven.FromClient("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    driven.FromServer(answer);
    EXPECT_TRUE(driven.to_client().starts_with("HTTP/1.1 502 ")) << answer << driven.to_client();
    EXPECT_TRUE(driven.response.ended() && driven.cut()) << answer;
  }
}

TEST(HttpHead, HasALimit) {
  const std::string start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
  const auto head_of = [&](std::size_t size) {
    return start + std::string(size - start.size() - 4, 'x') + "\r\n\r\n";
  };
  DrivenExchange fits;
  fits.FromClient(head_of(kMaxHeadBytes));
  EXPECT_GT(fits.to_server().size(), kMaxHeadBytes) << "what we add does not count";
  for (const std::size_t piece : {std::size_t{1}, std::size_t{1000}, 2 * kMaxHeadBytes}) {
    DrivenExchange over;
    const std::string head = head_of(kMaxHeadBytes + 1);
    for (std::size_t i = 0; i < head.size(); i += piece) over.FromClient(head.substr(i, piece));
    EXPECT_EQ(over.to_server(), "");
    EXPECT_TRUE(over.to_client().starts_with("HTTP/1.1 431 ")) << over.to_client();
  }
}

TEST(HttpGuess, KnowsHttpByItsFirstLine) {
  const auto guess = [](std::string_view bytes) { return GuessProtocol(bytes); };
  for (const char* other : {"\x16\x03\x01", "*1\r\n", "EHLO mail\r\n", "SSH-2.0-OpenSSH\r\n",
                            "GET /\r\n", "get key\r\n", "{\"a\": 1}\n"}) {
    EXPECT_EQ(guess(other), HttpGuess::kOther) << other;
  }
  EXPECT_EQ(guess("\0\0\0\1"s), HttpGuess::kOther);
  for (const char* more :
       {"", "G", "GET", "GET ", "GET /a HTTP/1.1\r", "\r\n", "PRI * HTTP/2.0\r\n", "SSH"}) {
    EXPECT_EQ(guess(more), HttpGuess::kUndecided) << more;
  }
  // Whatever any server may take for a request is one, and well-formed or refused.
  for (const char* http :
       {"GET / HTTP/1.1\r\n", "x-y /a http/1.0\n", "\r\nGET / HTTP/1.1\r\n", " GET / HTTP/1.1\r\n",
        "GET\t/\tHTTP/1.1\r\n", "GET /a b HTTP/9.9\r\n", "PRI * HTTP/2.0\r\nHost: a\r\n"}) {
    EXPECT_EQ(guess(http), HttpGuess::kHttp1) << http;
  }
  EXPECT_EQ(guess("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), HttpGuess::kPreface);
}

TEST(HttpIds, AreUuidsOfVersion4) {
  IdSource ids;
  const std::string first = ids.NextUuid();
  ASSERT_EQ(first.size(), 36U);
  EXPECT_EQ(first[14], '4');
  EXPECT_NE(std::string_view("89ab").find(first[19]), std::string_view::npos);
  EXPECT_NE(first, ids.NextUuid());
  IdSource again;
  EXPECT_NE(first, again.NextUuid());
}

}  // namespace
}  // namespace sluice::proxy
