// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/sniff/sniff.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/proxy/client_hello.h"
#include "test/unit/proxy/sniff_answer.h"

namespace sluice::proxy {
namespace {

constexpr std::string_view kSmallRequest = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
constexpr std::string_view kResponse = "HTTP/1.1 503 Service Unavailable\r\n\r\n";

TEST(Sniffer, ReadsBothDirectionsOfHttp) {
  Sniffer sniffer;
  EXPECT_EQ(sniffer.result(), nullptr);
  EXPECT_EQ(sniffer.FromClient(AsBytes(kSmallRequest)), SniffStatus::kDone);
  EXPECT_FALSE(sniffer.WantsClient());
  EXPECT_TRUE(sniffer.WantsServer());
  EXPECT_EQ(sniffer.FromServer(AsBytes(kResponse)), SniffStatus::kDone);
  EXPECT_FALSE(sniffer.WantsServer());
  ASSERT_NE(sniffer.result(), nullptr);
  EXPECT_EQ(sniffer.result()->method, "GET");
  EXPECT_EQ(sniffer.result()->authority, "h");
  EXPECT_EQ(sniffer.result()->response_code, 503);

  // Later bytes are ignored.
  EXPECT_EQ(sniffer.FromClient(AsBytes("GET /b HTTP/1.1\r\n\r\n")), SniffStatus::kDone);
  EXPECT_EQ(sniffer.result()->path, "/a");
  const Sniffer moved = std::move(sniffer);
  EXPECT_EQ(moved.result()->path, "/a");
}

TEST(Sniffer, LooksAtNoAnswerToTls) {
  Sniffer sniffer;
  EXPECT_EQ(sniffer.FromClient(FromHex(kTls13HelloHex)), SniffStatus::kDone);
  EXPECT_FALSE(sniffer.WantsServer());
  EXPECT_EQ(sniffer.FromServer(AsBytes(kResponse)), SniffStatus::kNotRecognised);
  ASSERT_NE(sniffer.result(), nullptr);
  EXPECT_EQ(sniffer.result()->spoken, Spoken::kTls);
  EXPECT_EQ(sniffer.result()->server_name, "reviews.bookinfo.example");
  EXPECT_EQ(sniffer.result()->response_code, 0);
}

TEST(Sniffer, DecidesAtTheFirstByteOfOtherProtocols) {
  // With Redis; in MySQL and SMTP the server speaks first.
  Sniffer redis;
  EXPECT_EQ(redis.FromClient(AsBytes("*")), SniffStatus::kNotRecognised);
  EXPECT_FALSE(redis.WantsServer());
  EXPECT_EQ(redis.result(), nullptr);

  Sniffer smtp;
  EXPECT_EQ(smtp.FromServer(AsBytes("2")), SniffStatus::kNotRecognised);
  EXPECT_TRUE(smtp.WantsClient());
  EXPECT_EQ(smtp.FromClient(AsBytes("EHLO a.example\r\n")), SniffStatus::kNotRecognised);
  EXPECT_EQ(smtp.result(), nullptr);
}

TEST(Sniffer, KeepsTheAnswerToASilentClient) {
  Sniffer sniffer;
  EXPECT_EQ(sniffer.FromServer(AsBytes("HTTP/1.0 408 Timeout\r\n")), SniffStatus::kDone);
  sniffer.Stop();
  ASSERT_NE(sniffer.result(), nullptr);
  EXPECT_EQ(sniffer.result()->spoken, Spoken::kHttp1);
  EXPECT_EQ(sniffer.result()->protocol, "HTTP/1.0");
  EXPECT_EQ(sniffer.result()->response_code, 408);
}

TEST(Sniffer, LooksAtNoMoreThanTheBound) {
  const std::string header = "X: " + std::string(kMaxSniffBytes, 'x');
  Sniffer request;
  EXPECT_EQ(request.FromClient(AsBytes("GET /a HTTP/1.1\r\n")), SniffStatus::kNeedMore);
  EXPECT_EQ(request.FromClient(AsBytes(header)), SniffStatus::kDone);
  EXPECT_EQ(request.result()->path, "/a");

  Sniffer target;
  EXPECT_EQ(target.FromClient(AsBytes("GET /" + std::string(kMaxSniffBytes - 6, 'x'))),
            SniffStatus::kNeedMore);
  EXPECT_EQ(target.FromClient(AsBytes("x")), SniffStatus::kNotRecognised);
  EXPECT_EQ(target.result(), nullptr);

  Sniffer interim;
  EXPECT_EQ(interim.FromServer(AsBytes("HTTP/1.1 100 Continue\r\n")), SniffStatus::kNeedMore);
  EXPECT_EQ(interim.FromServer(AsBytes(header)), SniffStatus::kNotRecognised);

  // Records of one byte: the limit applies to the bytes on the wire.
  Sniffer records;
  std::vector<std::uint8_t> bytes;
  std::vector<std::uint8_t> message = FromHex(kTls13HelloHex);
  message.erase(message.begin(), message.begin() + 5);
  message[1] = 0;
  message[2] = 0x40;  // a message of 16 KiB; the extensions' length does not matter yet
  message[3] = 0;
  message.resize(4 + 2 + 32);
  message.push_back(0);
  message.insert(message.end(), {0x3f, 0x00});
  message.resize(kMaxSniffBytes);
  for (const std::uint8_t byte : message) bytes.insert(bytes.end(), {22, 3, 3, 0, 1, byte});
  EXPECT_EQ(records.FromClient(std::span(bytes).first(kMaxSniffBytes - 1)), SniffStatus::kNeedMore);
  EXPECT_EQ(records.FromClient(std::span(bytes).subspan(kMaxSniffBytes - 1)),
            SniffStatus::kNotRecognised);
}

TEST(Sniffer, StopKeepsWhatIsKnown) {
  Sniffer sniffer;
  EXPECT_EQ(sniffer.FromClient(AsBytes("GET /a HTTP/1.1\r\nHost: h\r\nUser-A")),
            SniffStatus::kNeedMore);
  sniffer.Stop();
  EXPECT_FALSE(sniffer.WantsClient());
  EXPECT_FALSE(sniffer.WantsServer());
  ASSERT_NE(sniffer.result(), nullptr);
  EXPECT_EQ(sniffer.result()->authority, "h");

  Sniffer untouched;
  untouched.Stop();
  EXPECT_EQ(untouched.result(), nullptr);
}

// The result does not depend on how the two directions interleave.
TEST(Sniffer, DoesNotDependOnTheOrderOfDirections) {
  const std::vector<std::uint8_t> hello = FromHex(kTls12HelloHex);
  const std::string_view tls(reinterpret_cast<const char*>(hello.data()), hello.size());
  for (const std::string_view client : {kSmallRequest, tls, std::string_view("EHLO a\r\n"),
                                        std::string_view("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")}) {
    for (const std::string_view server : {kResponse, std::string_view("220 a.example ESMTP\r\n")}) {
      Sniffer client_first;
      client_first.FromClient(AsBytes(client));
      client_first.FromServer(AsBytes(server));
      const Sniffed expected = client_first.result() ? *client_first.result() : Sniffed{};
      for (std::size_t cut = 0; cut < client.size(); ++cut) {
        Sniffer mixed;
        mixed.FromClient(AsBytes(client.substr(0, cut)));
        mixed.FromServer(AsBytes(server));
        mixed.FromClient(AsBytes(client.substr(cut)));
        EXPECT_EQ(mixed.result() ? *mixed.result() : Sniffed{}, expected) << client << cut;
        EXPECT_FALSE(mixed.WantsClient() || mixed.WantsServer()) << client << cut;
      }
    }
  }
}

}  // namespace
}  // namespace sluice::proxy
