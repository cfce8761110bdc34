// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/http/http2.h"

#include <algorithm>
#include <initializer_list>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/http/drive.h"
#include "test/unit/http/http2_frames.h"

namespace sluice::proxy {
namespace {

using testing::ElementsAre;

constexpr std::uint8_t kData = 0;
constexpr std::uint8_t kHeaders = 1;
constexpr std::uint8_t kReset = 3;
constexpr std::uint8_t kSettings = 4;
constexpr std::uint8_t kPush = 5;
constexpr std::uint8_t kContinuation = 9;

const std::string kHello = std::string(kHttp2Preface) + Http2Frame(kSettings, 0, 0, "");
const std::string kWelcome = Http2Frame(kSettings, 0, 0, "");

std::vector<Http2Encoder::Field> Get(const std::string& path) {
  return {{":method", "GET"}, {":scheme", "http"}, {":path", path}, {":authority", "shop:80"}};
}

// A connection of which both ends write with nghttp2's encoder.
class Http2 : public testing::Test {
 protected:
  // A list, because its parts are made in this order; operands of + may not be.
  void FromClient(std::initializer_list<std::string> parts) {
    for (const std::string& bytes : parts) sent_ += bytes;
    driven_.FromClient(std::string_view(sent_).substr(given_));
    given_ = sent_.size();
  }
  void FromServer(std::initializer_list<std::string> parts) {
    for (const std::string& bytes : parts) answered_ += bytes;
    driven_.FromServer(std::string_view(answered_).substr(given_answers_));
    given_answers_ = answered_.size();
  }
  // Whatever it is that passes, it passes as it is.
  void TearDown() override {
    EXPECT_EQ(driven_.to_server(), sent_);
    EXPECT_EQ(driven_.to_client(), answered_);
  }
  const std::vector<HttpRecord>& records() { return driven_.exchange.records(); }
  bool is_read() const { return !driven_.request.is_plain(); }

  Http2Encoder client_;
  Http2Encoder server_;
  DrivenExchange driven_;

 private:
  std::string sent_;
  std::string answered_;
  std::size_t given_ = 0;
  std::size_t given_answers_ = 0;
};

TEST_F(Http2, RecordsRequests) {
  FromClient({kHello});
  FromServer({kWelcome});
  auto fields = Get("/a?b");
  fields[0].second = "POST";
  fields.insert(fields.end(),
                {{"user-agent", "u"}, {"x-request-id", "r"}, {"x-forwarded-for", "f"}});
  FromClient({client_.Headers(1, fields, false), Http2Frame(kData, 0, 1, "hello"),
              Http2Frame(kData, 0x9, 1, std::string("\x02you\0\0", 6))});
  EXPECT_TRUE(driven_.exchange.is_http2());
  FromServer({server_.Headers(1, {{":status", "103"}}, false),
              server_.Headers(1, {{":status", "201"}, {"server", "x"}}, false)});
  EXPECT_TRUE(records().empty());
  FromServer({Http2Frame(kData, 1, 1, "ok")});
  ASSERT_EQ(records().size(), 1U);
  const HttpRecord& record = records()[0];
  EXPECT_EQ(record.method, "POST");
  EXPECT_EQ(record.path, "/a?b");
  EXPECT_EQ(record.authority, "shop:80");
  EXPECT_EQ(record.user_agent, "u");
  EXPECT_EQ(record.request_id, "r");
  EXPECT_EQ(record.forwarded_for, "f");
  EXPECT_EQ(record.protocol, "HTTP/2");
  EXPECT_EQ(record.status, 201);
  EXPECT_EQ(record.request_bytes, 8U) << "without padding";
  EXPECT_EQ(record.response_bytes, 2U);
  EXPECT_GE(record.service_ms, 0);
  EXPECT_EQ(record.flags, "");
  EXPECT_EQ(record.details, "via_upstream");
  EXPECT_EQ(record.grpc_status, -1);
}

TEST_F(Http2, FollowsStreamsThatAreInterleaved) {
  FromClient({kHello, client_.Headers(1, Get("/1"), true), client_.Headers(3, Get("/3"), true)});
  FromServer({kWelcome, server_.Headers(3, {{":status", "203"}}, false)});
  FromClient({client_.Headers(5, Get("/5"), true)});
  FromServer({server_.Headers(1, {{":status", "201"}}, true), Http2Frame(kData, 1, 3, ""),
              server_.Headers(5, {{":status", "205"}}, true)});
  std::vector<std::string> seen;
  for (const HttpRecord& record : records()) {
    seen.push_back(record.path + " " + std::to_string(record.status));
  }
  EXPECT_THAT(seen, ElementsAre("/1 201", "/3 203", "/5 205"));
}

TEST_F(Http2, ReadsTheStatusOfGrpc) {
  auto call = Get("/cart.Cart/Add");
  call.emplace_back("content-type", "application/grpc+proto");
  FromClient({kHello, client_.Headers(1, call, false), Http2Frame(kData, 1, 1, "12345")});
  FromServer({kWelcome, server_.Headers(1, {{":status", "200"}}, false),
              Http2Frame(kData, 0, 1, "1234567"),
              server_.Headers(1, {{"grpc-status", "7"}, {"grpc-message", "no"}}, true)});
  FromClient({client_.Headers(3, call, true)});
  FromServer({server_.Headers(3, {{":status", "200"}, {"grpc-status", "12"}}, true)});
  ASSERT_EQ(records().size(), 2U);
  EXPECT_TRUE(records()[0].is_grpc);
  EXPECT_EQ(records()[0].status, 200);
  EXPECT_EQ(records()[0].grpc_status, 7);
  EXPECT_EQ(records()[1].grpc_status, 12) << "of a response that is its trailers";
}

TEST_F(Http2, BlocksGoOnInOtherFramesWithPriorityAndPadding) {
  const std::string block = client_.Block(Get("/long"));
  std::string front(1, '\x03');             // of padding
  front += std::string("\0\0\0\0\x10", 5);  // of priority
  front += block.substr(0, 2) + std::string(3, '\0');
  FromClient({kHello, Http2Frame(kHeaders, 0x29, 1, front),
              Http2Frame(kContinuation, 0, 1, block.substr(2)),
              Http2Frame(kContinuation, 4, 1, "")});
  // A promise uses the table of the server's fields like everything else.
  FromServer({kWelcome,
              Http2Frame(kPush, 4, 1, std::string("\0\0\0\x02", 4) + server_.Block(Get("/pushed"))),
              server_.Headers(2, {{":status", "200"}, {"x", "y"}}, true),
              server_.Headers(1, {{":status", "404"}, {"x", "y"}}, true)});
  ASSERT_EQ(records().size(), 1U);
  EXPECT_EQ(records()[0].path, "/long");
  EXPECT_EQ(records()[0].status, 404);
}

TEST_F(Http2, BytesMayComeOneByOneAndBothWaysAtOnce) {
  const std::string asked = kHello + client_.Headers(1, Get("/1"), true);
  const std::string answer = kWelcome + server_.Headers(1, {{":status", "200"}}, true);
  for (std::size_t i = 0; i < std::max(asked.size(), answer.size()); ++i) {
    if (i < asked.size()) FromClient({asked.substr(i, 1)});
    if (i + 30 >= asked.size() && i + 30 < asked.size() + answer.size()) {
      FromServer({answer.substr(i + 30 - asked.size(), 1)});
    }
  }
  driven_.exchange.Close(0, 0, "DC");
  ASSERT_EQ(records().size(), 1U);
  EXPECT_EQ(records()[0].path, "/1");
}

TEST_F(Http2, PaddingMayComeInPieces) {
  FromClient({kHello, client_.Headers(1, Get("/1"), false)});
  const std::string frame = Http2Frame(kData, 0x9, 1, std::string("\x04you\0\0\0\0", 8));
  for (const char byte : frame) FromClient({std::string(1, byte)});
  FromServer({kWelcome, server_.Headers(1, {{":status", "200"}}, true)});
  ASSERT_EQ(records().size(), 1U);
  EXPECT_EQ(records()[0].request_bytes, 3U);
}

TEST_F(Http2, TheServerMaySpeakFirst) {
  FromServer({kWelcome});
  FromClient({kHello, client_.Headers(1, Get("/1"), true)});
  FromServer({server_.Headers(1, {{":status", "200"}}, true)});
  EXPECT_EQ(records().size(), 1U);
}

TEST_F(Http2, WhoeverSpeaksFirstOtherwiseIsNotRead) {
  FromServer({"+OK\r\n"});
  FromClient({"GET / HTTP/1.1\r\nHost: a\r\n\r\n"});
  EXPECT_FALSE(is_read());
}

TEST_F(Http2, SaysWhoResetARequest) {
  const std::string cancel("\0\0\0\x08", 4);
  const std::string no_error(4, '\0');
  FromClient({kHello});
  for (const std::uint32_t id : {1U, 3U, 5U, 7U, 9U}) {
    FromClient({client_.Headers(id, Get("/" + std::to_string(id)), id != 7)});
  }
  FromServer({kWelcome});
  FromClient({Http2Frame(kReset, 0, 1, cancel)});
  FromServer({Http2Frame(kReset, 0, 3, cancel), server_.Headers(5, {{":status", "200"}}, false),
              Http2Frame(kReset, 0, 5, cancel), server_.Headers(7, {{":status", "413"}}, true),
              Http2Frame(kReset, 0, 7, no_error)});
  driven_.exchange.Close(0, 0, "UC");
  std::vector<std::string> seen;
  for (const HttpRecord& record : records()) {
    seen.push_back(record.path + " " + std::string(record.flags) + " " +
                   std::to_string(record.status) + " " + std::string(record.details));
  }
  EXPECT_THAT(seen, ElementsAre("/1 DR 0 http2.remote_reset",
                                "/3 UR 0 upstream_reset_before_response_started{remote_reset}",
                                "/5 UR 200 upstream_reset_after_response_started{remote_reset}",
                                "/7  413 via_upstream", "/9 UC 0 "));
}

TEST_F(Http2, KnowsTablesOfUpToTheLimit) {
  Http2Encoder client(Http2Reader::kMaxTableBytes);
  client.Resize(Http2Reader::kMaxTableBytes);
  FromClient({kHello});
  for (std::uint32_t id = 1; id < 41; id += 2) {
    auto fields = Get("/" + std::to_string(id % 4));
    // More than 4,096 bytes of fields that come again.
    for (int i = 0; i < 10; ++i)
      fields.emplace_back("x" + std::to_string(i), std::string(900, 'v'));
    FromClient({client.Headers(id, fields, true)});
  }
  EXPECT_TRUE(is_read());
  driven_.exchange.Close(0, 0, "");
  EXPECT_EQ(records().size(), 20U);
}

TEST_F(Http2, GivesUpWhatItCannotRead) {
  struct Case {
    const char* what;
    std::string bytes;
  };
  Http2Encoder client(2 * Http2Reader::kMaxTableBytes);
  client.Resize(2 * Http2Reader::kMaxTableBytes);
  const Case cases[] = {
      {"no SETTINGS at first", Http2Frame(kData, 0, 1, "x")},
      {"a larger table", kWelcome + client.Headers(1, Get("/"), true)},
      {"a block that ends too early", kWelcome + Http2Frame(kHeaders, 4, 1, "\x40")},
      {"an index beyond the table", kWelcome + Http2Frame(kHeaders, 4, 1, "\xff\x7f")},
      {"another frame within a block",
       kWelcome + Http2Frame(kHeaders, 0, 1, "") + Http2Frame(kData, 0, 1, "")},
      {"CONTINUATION of nothing", kWelcome + Http2Frame(kContinuation, 4, 1, "")},
      {"more padding than payload", kWelcome + Http2Frame(kData, 8, 1, "\x09x")},
      {"no room for the padding's length", kWelcome + Http2Frame(kData, 8, 1, "")},
      {"a short reset", kWelcome + Http2Frame(kReset, 0, 1, "xyz")},
      {"a promise of a client", kWelcome + Http2Frame(kPush, 4, 1, std::string("\0\0\0\x02", 4))},
  };
  for (const Case& one : cases) {
    DrivenExchange driven;
    const std::string bytes = std::string(kHttp2Preface) + one.bytes + "rest";
    driven.FromClient(bytes);
    EXPECT_EQ(driven.to_server(), bytes) << one.what;
    EXPECT_TRUE(driven.request.is_plain()) << one.what;
    driven.FromServer("whatever");
    EXPECT_TRUE(driven.response.is_plain()) << one.what;
    EXPECT_EQ(driven.to_client(), "whatever") << one.what;
  }
}

TEST_F(Http2, FollowsSoManyRequestsAtOnce) {
  FromClient({kHello});
  FromServer({kWelcome});
  const auto most = static_cast<std::uint32_t>(Http2Reader::kMaxStreams);
  for (std::uint32_t i = 0; i < most + 10; ++i)
    FromClient({client_.Headers(2 * i + 1, Get("/"), true)});
  FromServer({server_.Headers(2 * most + 5, {{":status", "200"}}, true)});
  EXPECT_TRUE(records().empty());
  driven_.exchange.Close(0, 0, "");
  EXPECT_EQ(records().size(), most);
  EXPECT_TRUE(is_read());
}

}  // namespace
}  // namespace sluice::proxy
