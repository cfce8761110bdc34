// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Bodies that the relay splices between heads that it does not.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/http/drive.h"
#include "test/unit/http/relayed.h"

namespace sluice::proxy {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

RewriteRules Bare() {
  return {.direction = Direction::kOutbound, .headers = HttpHeaderSet(), .client_certificate = {}};
}

// Bytes of which no two neighbouring pieces are alike.
std::string Content(std::size_t size, std::uint32_t seed) {
  // Eight bytes for each number, as this is compiled without optimisation.
  std::mt19937_64 random(seed);
  std::string content(size, '\0');
  for (std::size_t at = 0; at < size; at += sizeof(std::uint64_t)) {
    const std::uint64_t word = random();
    std::memcpy(content.data() + at, &word, std::min(sizeof(word), size - at));
  }
  return content;
}

std::string Hex(std::size_t value) {
  std::array<char, 20> text{};
  std::snprintf(text.data(), text.size(), "%zx", value);
  return text.data();
}

// A message's framing and body, with a length or in one chunk or in several.
std::string Framed(const std::string& content, std::size_t how) {
  if (how % 3 == 0)
    return "Content-Length: " + std::to_string(content.size()) + "\r\n\r\n" + content;
  std::string out = "Transfer-Encoding: chunked\r\n\r\n";
  const std::size_t size = how % 3 == 1 ? content.size() : 100'000;
  for (std::size_t at = 0; at < content.size(); at += size) {
    const std::string chunk = content.substr(at, size);
    out += Hex(chunk.size()) + "\r\n" + chunk + "\r\n";
  }
  return out + "0\r\n\r\n";
}

class BodySpliceTest : public testing::TestWithParam<Splicing> {
 protected:
  BodySpliceTest() { resources_->splicing = GetParam(); }
  bool Spliced() const { return resources_->pipes.idle() > 0; }

  std::unique_ptr<RelayResources> resources_ = std::make_unique<RelayResources>();
};

INSTANTIATE_TEST_SUITE_P(, BodySpliceTest,
                         testing::Values(Splicing::kAuto, Splicing::kOn, Splicing::kOff));

// A large body is spliced, and the pipelined head right behind it is read.
TEST_P(BodySpliceTest, LargeBodiesBothWaysAndWhatIsBehindThem) {
  RelayedExchange relayed(Bare(), *resources_);
  const std::string content = Content(3'000'000, 1);
  const std::string length = "Content-Length: 3000000\r\n\r\n";
  relayed.FromClient("PUT /1 HTTP/1.1\r\nHost: a\r\n" + length + content +
                     "GET /2 HTTP/1.1\r\nHost: a\r\nX-Forwarded-Client-Cert: forged\r\n\r\n");
  EXPECT_TRUE(relayed.to_server() == "PUT /1 HTTP/1.1\r\nHost: a\r\n" + length + content +
                                         "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(Spliced(), GetParam() != Splicing::kOff);
  const std::string second = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  relayed.FromServer("HTTP/1.1 200 OK\r\n" + length + content + second);
  EXPECT_TRUE(relayed.to_client() == "HTTP/1.1 200 OK\r\n" + length + content + second);
  ASSERT_EQ(relayed.exchange.records().size(), 2U);
  EXPECT_EQ(relayed.exchange.records()[0].request_bytes, content.size());
  EXPECT_EQ(relayed.exchange.records()[0].response_bytes, content.size());
  EXPECT_EQ(relayed.exchange.records()[1].response_bytes, 2U);
  EXPECT_EQ(resources_->buffered_bytes, 0U);
}

TEST_P(BodySpliceTest, SmallBodiesAreCopiedUnlessToldOtherwise) {
  RelayedExchange relayed(Bare(), *resources_);
  for (int i = 0; i < 20; ++i) {
    relayed.FromClient("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    relayed.FromServer("HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n");
    relayed.FromServer(std::string(30'000, 'x'));
  }
  EXPECT_EQ(Spliced(), GetParam() == Splicing::kOn);
  EXPECT_EQ(relayed.exchange.records().size(), 20U);
}

TEST_P(BodySpliceTest, UntilTheEndOfTheConnection) {
  RelayedExchange relayed(Bare(), *resources_);
  const std::string content = Content(2'000'000, 2);
  relayed.FromClient("GET / HTTP/1.0\r\n\r\n");
  relayed.FromServer("HTTP/1.1 200 OK\r\n\r\n" + content);
  relayed.EndServer();
  EXPECT_TRUE(relayed.response.finished());
  EXPECT_TRUE(relayed.to_client() == "HTTP/1.1 200 OK\r\n\r\n" + content);
  EXPECT_EQ(Spliced(), GetParam() != Splicing::kOff);
  ASSERT_EQ(relayed.exchange.records().size(), 1U);
  EXPECT_EQ(relayed.exchange.records()[0].response_bytes, content.size());
}

TEST_P(BodySpliceTest, ABodyThatBreaksOffIsNoEnd) {
  RelayedExchange relayed(Bare(), *resources_);
  const std::string content = Content(2'000'000, 3);
  relayed.FromClient("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  relayed.FromServer("HTTP/1.1 200 OK\r\nContent-Length: 2000001\r\n\r\n" + content);
  relayed.EndServer();
  EXPECT_THAT(relayed.to_client(), EndsWith(content.substr(content.size() - 100)));
  EXPECT_EQ(relayed.response.error(), ECONNRESET);
  relayed.exchange.Close(relayed.request_passes(), relayed.response_passes(), "UC");
  ASSERT_EQ(relayed.exchange.records().size(), 1U);
  EXPECT_EQ(relayed.exchange.records()[0].response_bytes, content.size());
  EXPECT_EQ(relayed.exchange.records()[0].flags, "UC");
}

// The server answers in the middle of an upload and closes: the rest of it, in a pipe or not, is
// dropped.
TEST_P(BodySpliceTest, AnEarlyAnswerEndsTheUpload) {
  RelayedExchange relayed(Bare(), *resources_);
  relayed.FromClient("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n" +
                     Content(2'000'000, 4));
  relayed.exchange.Drain();
  relayed.FromServer("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
  EXPECT_THAT(relayed.to_client(), HasSubstr("413 Too Large"));
  EXPECT_THAT(relayed.to_client(), EndsWith("\r\nconnection: close\r\n\r\nno"));
  EXPECT_TRUE(relayed.cut());
  relayed.FromClient(std::string(2'000'000, 'x') + "GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_EQ(relayed.exchange.records().size(), 1U);
  EXPECT_EQ(relayed.exchange.records()[0].request_bytes, 2'000'000U);
  EXPECT_TRUE(relayed.response.finished());
}

// Messages of all sizes and framings, in pieces of all sizes, come out as without sockets.
TEST_P(BodySpliceTest, IsTheSameAsWithoutSockets) {
  for (std::uint32_t seed = 1; seed <= 12; ++seed) {
    std::mt19937 random(seed);
    const auto up_to = [&](std::size_t most) { return random() % most + 1; };
    std::string requests;
    std::string responses;
    for (int i = 0; i < 6; ++i) {
      const std::size_t most = i % 2 == 0 ? 1'500'000 : 2'000;
      requests += "POST /" + std::to_string(i) + " HTTP/1.1\r\nHost: a\r\n" +
                  Framed(Content(up_to(most), seed + 1), random());
      responses += "HTTP/1.1 200 OK\r\n" + Framed(Content(up_to(most), seed + 2), random());
    }
    DrivenExchange driven(Bare());
    driven.FromClient(requests);
    driven.FromServer(responses);
    RelayedExchange relayed(Bare(), *resources_);
    const auto feed = [&](const std::string& bytes, auto&& put) {
      for (std::size_t at = 0; at < bytes.size();) {
        const std::string piece = bytes.substr(at, up_to(seed % 2 == 0 ? 1'000'000 : 100'000));
        put(piece);
        at += piece.size();
      }
    };
    feed(requests, [&](const std::string& piece) { relayed.FromClient(piece); });
    feed(responses, [&](const std::string& piece) { relayed.FromServer(piece); });
    ASSERT_TRUE(relayed.to_server() == driven.to_server()) << seed;
    ASSERT_TRUE(relayed.to_client() == driven.to_client()) << seed;
    const auto& records = relayed.exchange.records();
    ASSERT_EQ(records.size(), 6U) << seed;
    for (std::size_t i = 0; i < records.size(); ++i) {
      EXPECT_EQ(records[i].request_bytes, driven.exchange.records()[i].request_bytes);
      EXPECT_EQ(records[i].response_bytes, driven.exchange.records()[i].response_bytes);
    }
  }
  EXPECT_EQ(Spliced(), GetParam() != Splicing::kOff);
}

}  // namespace
}  // namespace sluice::proxy
