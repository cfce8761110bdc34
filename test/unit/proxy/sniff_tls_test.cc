// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/sniff/sniff_tls.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/proxy/client_hello.h"
#include "test/unit/proxy/sniff_answer.h"

namespace sluice::proxy {
namespace {

using Bytes = std::vector<std::uint8_t>;

void PutNumber(Bytes& out, std::size_t value, int bytes) {
  for (int i = bytes - 1; i >= 0; --i) out.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
}

Bytes Sized(const Bytes& content, int length_bytes) {
  Bytes out;
  PutNumber(out, content.size(), length_bytes);
  out.insert(out.end(), content.begin(), content.end());
  return out;
}

// The parts of a ClientHello, for the tests that break one of them.
struct Hello {
  Bytes session_id = Bytes(32, 0xaa);
  Bytes cipher_suites = {0x13, 0x01};
  Bytes compression = {0};
  std::string name = "a.example";
  std::uint8_t name_type = 0;
  bool has_extensions = true;

  Bytes Message() const {
    Bytes body = {3, 3};
    body.insert(body.end(), 32, 0x55);
    const auto append = [&body](const Bytes& part) {
      body.insert(body.end(), part.begin(), part.end());
    };
    append(Sized(session_id, 1));
    append(Sized(cipher_suites, 2));
    append(Sized(compression, 1));
    if (has_extensions) {
      Bytes entry = {name_type};
      const Bytes sized_name = Sized(Bytes(name.begin(), name.end()), 2);
      entry.insert(entry.end(), sized_name.begin(), sized_name.end());
      const Bytes list = Sized(Sized(entry, 2), 2);
      Bytes extensions = {0, 23, 0, 0, 0, 0};  // extended_master_secret, then server_name
      extensions.insert(extensions.end(), list.begin(), list.end());
      append(Sized(extensions, 2));
    }
    Bytes message = {1};
    const Bytes sized = Sized(body, 3);
    message.insert(message.end(), sized.begin(), sized.end());
    return message;
  }
};

// `message` in records of at most `size` bytes.
Bytes InRecords(const Bytes& message, std::size_t size = 16384) {
  Bytes out;
  for (std::size_t at = 0; at < message.size(); at += size) {
    const std::size_t length = std::min(size, message.size() - at);
    out.insert(out.end(), {22, 3, 1});
    PutNumber(out, length, 2);
    out.insert(out.end(), message.begin() + static_cast<std::ptrdiff_t>(at),
               message.begin() + static_cast<std::ptrdiff_t>(at + length));
  }
  return out;
}

Answer Read(const Bytes& bytes, std::size_t piece = 100000) {
  TlsClientHello parser;
  Answer answer{SniffStatus::kNeedMore, {}};
  for (std::size_t at = 0; at < bytes.size() && answer.status == SniffStatus::kNeedMore;
       at += piece) {
    answer.status =
        parser.Feed(std::span(bytes).subspan(at, std::min(piece, bytes.size() - at)), answer.seen);
  }
  return answer;
}

Answer Named(std::string name) {
  Answer answer{SniffStatus::kDone, {}};
  answer.seen.spoken = Spoken::kTls;
  answer.seen.server_name = std::move(name);
  return answer;
}

const Answer kRefused{SniffStatus::kNotRecognised, {}};

TEST(TlsClientHello, ReadsTheServerName) {
  EXPECT_EQ(Read(FromHex(kTls13HelloHex)), Named("reviews.bookinfo.example"));
  EXPECT_EQ(Read(FromHex(kTls12HelloHex)), Named("reviews.bookinfo.example"));
  EXPECT_EQ(Read(FromHex(kNamelessHelloHex)), Named(""));
  EXPECT_EQ(Read(InRecords(Hello{}.Message())), Named("a.example"));
}

TEST(TlsClientHello, AsksForMoreAtEveryTruncationBeforeTheNameEnds) {
  const Bytes hello = FromHex(kTls13HelloHex);
  const std::string_view name = "Reviews.bookinfo.example";
  const auto found = std::search(hello.begin(), hello.end(), name.begin(), name.end());
  const auto needed = static_cast<std::size_t>(found - hello.begin()) + name.size();
  for (std::size_t length = 0; length <= hello.size(); ++length) {
    const Answer answer = Read(Bytes(hello.begin(), hello.begin() + static_cast<long>(length)));
    if (length < needed) {
      EXPECT_EQ(answer, (Answer{SniffStatus::kNeedMore, {}})) << length;
    } else {
      EXPECT_EQ(answer, Named("reviews.bookinfo.example")) << length;
    }
  }
}

TEST(TlsClientHello, DoesNotCareHowTheBytesArrive) {
  const Bytes hello = FromHex(kTls13HelloHex);
  const Bytes message(hello.begin() + 5, hello.end());
  for (std::size_t piece = 1; piece < 80; ++piece) {
    EXPECT_EQ(Read(hello, piece), Named("reviews.bookinfo.example")) << piece;
    EXPECT_EQ(Read(InRecords(message, piece), piece), Named("reviews.bookinfo.example")) << piece;
    EXPECT_EQ(Read(InRecords(message, piece)), Named("reviews.bookinfo.example")) << piece;
  }
}

TEST(TlsClientHello, ReadsOneOfTheSizeOfPostQuantumKeys) {
  Hello hello;
  hello.cipher_suites = Bytes(1800, 0);
  EXPECT_EQ(Read(InRecords(hello.Message())), Named("a.example"));
}

TEST(TlsClientHello, EndsWithoutANameWhereThereIsNone) {
  Hello bare;
  bare.has_extensions = false;
  EXPECT_EQ(Read(InRecords(bare.Message())), Named(""));
  Hello other_type;
  other_type.name_type = 1;
  EXPECT_EQ(Read(InRecords(other_type.Message())), Named(""));
}

TEST(TlsClientHello, RefusesWhatIsNoHost) {
  for (const char* name : {"a b", "a/b", "a\n", "caf\xc3\xa9", "a:443", "\"", "a\x7f", "[::1]"}) {
    Hello hello;
    hello.name = name;
    EXPECT_EQ(Read(InRecords(hello.Message())), Named("")) << name;
  }
  Hello nul;
  nul.name = std::string("a\0b", 3);
  EXPECT_EQ(Read(InRecords(nul.Message())), Named(""));
}

TEST(TlsClientHello, BoundsTheName) {
  Hello hello;
  hello.name = std::string(kMaxServerName, 'a');
  EXPECT_EQ(Read(InRecords(hello.Message())), Named(hello.name));
  hello.name.push_back('a');
  EXPECT_EQ(Read(InRecords(hello.Message())), Named(""));
  hello.name.clear();
  EXPECT_EQ(Read(InRecords(hello.Message())), kRefused);
}

TEST(TlsClientHello, RefusesTheFirstImpossibleByte) {
  struct {
    const char* what;
    Bytes bytes;
  } const cases[] = {
      {"an alert", {21}},
      {"SSL 2", {22, 2}},
      {"an empty record", {22, 3, 1, 0, 0}},
      {"a record above 2^14", {22, 3, 1, 0x40, 0x01}},
      {"a record far above", {22, 3, 1, 0xff}},
      {"a ServerHello", {22, 3, 1, 0, 200, 2}},
      {"a message that is too short", {22, 3, 1, 0, 200, 1, 0, 0, 40}},
      {"a message above the bound", {22, 3, 1, 0, 200, 1, 0, 0x40, 0x01}},
      {"a message of 16 MB", {22, 3, 1, 0, 200, 1, 0xff, 0xff, 0xff}},
      {"an unknown version", {22, 3, 1, 0, 200, 1, 0, 1, 0, 2, 3}},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(Read(c.bytes), kRefused) << c.what;
    EXPECT_EQ(Read(Bytes(c.bytes.begin(), c.bytes.end() - 1)).status, SniffStatus::kNeedMore)
        << c.what;
  }
}

// Every length in the message is made wrong in turn; whatever an inner length says, it must never
// override the enclosing one.
TEST(TlsClientHello, BelievesNoLengthAgainstTheOneAroundIt) {
  const Bytes good = InRecords(Hello{}.Message());
  constexpr std::size_t kSessionId = 5 + 4 + 2 + 32;
  constexpr std::size_t kCipherSuites = kSessionId + 1 + 32;
  constexpr std::size_t kCompression = kCipherSuites + 2 + 2;
  constexpr std::size_t kExtensions = kCompression + 1 + 1;
  constexpr std::size_t kServerName = kExtensions + 2 + 4 + 2;
  struct {
    const char* what;
    std::size_t at;
    int value;
  } const cases[] = {
      {"session id", kSessionId, 33},
      {"cipher suites: odd", kCipherSuites + 1, 3},
      {"cipher suites: none", kCipherSuites + 1, 0},
      {"cipher suites: beyond the message", kCipherSuites, 0xfe},
      {"compression: none", kCompression, 0},
      {"compression: beyond the message", kCompression, 0xff},
      {"extensions: too long", kExtensions + 1, good[kExtensions + 1] + 1},
      {"extensions: too short", kExtensions + 1, good[kExtensions + 1] - 1},
      {"extension beyond the message", kExtensions + 4, 0xff},
      {"server name extension: too long", kServerName, 0xff},
      {"server name extension: too short", kServerName + 1, 4},
      {"list: too long", kServerName + 3, good[kServerName + 3] + 1},
      {"list: too short", kServerName + 3, good[kServerName + 3] - 1},
      {"name: beyond the list", kServerName + 6, good[kServerName + 6] + 1},
      {"name: far beyond", kServerName + 5, 0xff},
  };
  ASSERT_EQ(good[kSessionId], 32);
  ASSERT_EQ(good[kServerName + 6], Hello{}.name.size());
  for (const auto& c : cases) {
    Bytes bad = good;
    bad[c.at] = static_cast<std::uint8_t>(c.value);
    EXPECT_EQ(Read(bad), kRefused) << c.what;
  }
}

// With any one byte changed: a result without an error, and never text that is not a host name.
TEST(TlsClientHello, SurvivesEveryChangedByte) {
  const Bytes hello = FromHex(kTls12HelloHex);
  for (std::size_t at = 0; at < hello.size(); ++at) {
    for (const int flip : {0x01, 0x80, 0xff}) {
      Bytes changed = hello;
      changed[at] = static_cast<std::uint8_t>(changed[at] ^ flip);
      const std::string name = Read(changed, 7).seen.server_name;
      EXPECT_EQ(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-_"),
                std::string::npos)
          << name;
    }
  }
}

}  // namespace
}  // namespace sluice::proxy
