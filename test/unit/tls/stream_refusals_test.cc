// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Whom a stream lets in, and what it does not take from anybody.
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/tls/openssl_peer.h"
#include "test/unit/tls/stream_fixture.h"
#include "tls/stream/stream.h"

namespace sluice::tls {
namespace {

using Role = Stream::Role;
using Status = Stream::Status;
using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

const std::string kPeer = "spiffe://cluster.local/ns/shop/sa/cart";

TEST_P(StreamTest, RefusesPeersThatAreNotAllowed) {
  const TestIdentity other_root = Issue(TestCa("root"));
  const TestIdentity intermediate = Issue(TestCa("intermediate"), &root_);
  const struct {
    TestIdentity identity;
    const char* pattern;
    std::string issuers;
    const char* why;  // null: accepted
  } cases[] = {
      {Issue({}, &root_), "spiffe://cluster.local/**", {}, nullptr},
      {Issue({}, &intermediate), "spiffe://cluster.local/**", intermediate.Pem(), nullptr},
      {Issue({}, &intermediate), "spiffe://cluster.local/**", {}, "the peer's certificate: "},
      {Issue({}, &root_), "spiffe://cluster.local/ns/shop/sa/till", {}, "which is not allowed"},
      {Issue({}, &root_), "spiffe://other.example/**", {}, "which is not allowed"},
      {Issue({}, &other_root), "spiffe://cluster.local/**", {}, "the peer's certificate: "},
      {Issue({}), "spiffe://cluster.local/**", {}, "the peer's certificate: "},
      {Issue({.until = std::chrono::seconds(-1)}, &root_),
       "spiffe://cluster.local/**",
       {},
       "expired"},
      {Issue({.names = "DNS:cart"}, &root_), "spiffe://cluster.local/**", {}, "no URI"},
      {Issue({.names = "URI:spiffe://other.example/a"}, &root_),
       "spiffe://other.example/**",
       {},
       "unknown trust domain other.example"},
      {Issue({.constraints = "critical,CA:TRUE"}, &root_),
       "spiffe://cluster.local/**",
       {},
       "certificate authority"},
  };
  for (const auto& [identity, pattern, issuers, why] : cases) {
    SCOPED_TRACE(std::string(pattern) + (why != nullptr ? why : ""));
    const SocketPair sockets;
    OpenSslPeer::Habits habits = Fitting();
    habits.identity = &identity;
    habits.issuers = issuers;
    OpenSslPeer peer(sockets.theirs.get(), habits);
    peer.to_send = "theirs";
    Stream stream(context_, sockets.ours.get(), Options(Patterns({pattern})));
    std::string got;
    Stream::Result read;
    Stream::Result written;
    bool sent = false;
    Until([&] {
      std::array<char, 100> buffer;
      if (!sent) written = stream.Write(std::string("ours"));
      sent = sent || written.status == Status::kDone;
      read = stream.Read(buffer);
      if (read.status == Status::kDone) got.append(buffer.data(), read.bytes);
      peer.Play();
      return read.status == Status::kFailed || (got == "theirs" && peer.received == "ours");
    });
    EXPECT_EQ(got, why == nullptr ? "theirs" : "");
    EXPECT_EQ(peer.received, why == nullptr ? "ours" : "");
    EXPECT_EQ(stream.peer() != nullptr, why == nullptr);
    if (why == nullptr) continue;
    EXPECT_EQ(read.status, Status::kFailed);
    EXPECT_EQ(read.error, EPROTO);
    EXPECT_THAT(stream.why(), HasSubstr(why));
    EXPECT_FALSE(stream.established());
    for (int i = 0; i < 3; ++i) peer.Play();
    EXPECT_THAT(peer.error, HasSubstr("alert handshake failure"));
    EXPECT_EQ(stream.Write(std::string("ours")).status, Status::kFailed);
    EXPECT_EQ(stream.Shutdown().status, Status::kFailed);
    for (int i = 0; i < 3; ++i) peer.Play();
    EXPECT_EQ(peer.received, "");
  }
}

TEST_P(StreamTest, NobodyIsOnAnEmptyList) {
  OpenSslPeer peer(sockets_.theirs.get(), Fitting());
  Stream stream(context_, sockets_.ours.get(), Options(Patterns({})));
  EXPECT_EQ(Shake(stream, peer).status, Status::kFailed);
  EXPECT_THAT(stream.why(), HasSubstr("not allowed"));
}

TEST_P(StreamTest, SpeaksNothingOlder) {
  OpenSslPeer::Habits habits = Fitting();
  habits.version = TLS1_2_VERSION;
  OpenSslPeer peer(sockets_.theirs.get(), habits);
  Stream stream(context_, sockets_.ours.get(), Options());
  EXPECT_EQ(Shake(stream, peer).status, Status::kFailed);
  EXPECT_THAT(stream.why(), HasSubstr("TLS: "));
  EXPECT_FALSE(peer.established());
}

// A peer that answers in plaintext receives none, and is not trusted.
TEST_P(StreamTest, FallsNeverBackToPlaintext) {
  Stream stream(context_, sockets_.ours.get(), Options());
  const std::string secret = "GET /secret HTTP/1.1";
  EXPECT_EQ(stream.Write(secret).status, Status::kWaitsForInput);
  const std::string answer = "HTTP/1.1 200 OK\r\n\r\n";
  ASSERT_EQ(::send(sockets_.theirs.get(), answer.data(), answer.size(), 0), ssize_t(answer.size()));
  EXPECT_EQ(stream.Write(secret).status, Status::kFailed);
  std::array<char, 4096> buffer;
  EXPECT_EQ(stream.Read(buffer).status, Status::kFailed);
  EXPECT_EQ(stream.Write(secret).status, Status::kFailed);
  std::string wire;
  while (true) {
    const ssize_t got = ::recv(sockets_.theirs.get(), buffer.data(), buffer.size(), 0);
    if (got <= 0) break;
    wire.append(buffer.data(), static_cast<std::size_t>(got));
  }
  EXPECT_THAT(wire, Not(HasSubstr("secret")));
}

// Bytes changed on the way break the stream.
TEST_P(StreamTest, NoticesAChangedByte) {
  SocketPair far;
  OpenSslPeer peer(far.theirs.get(), Fitting());
  Stream stream(context_, sockets_.ours.get(), Options());
  bool change = false;
  const auto forward = [&](int from, int to) {
    std::array<char, 8192> buffer;
    const ssize_t got = ::recv(from, buffer.data(), buffer.size(), 0);
    if (got <= 0) return;
    if (change) buffer[static_cast<std::size_t>(got) - 1] ^= 1;
    EXPECT_EQ(::send(to, buffer.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL), got);
  };
  std::array<char, 100> buffer;
  ASSERT_TRUE(Until([&] {
    static_cast<void>(stream.Read(buffer));
    peer.Play();
    forward(far.ours.get(), sockets_.theirs.get());
    forward(sockets_.theirs.get(), far.ours.get());
    return stream.established() && peer.established();
  }));
  for (int i = 0; i < 5; ++i) {
    forward(far.ours.get(), sockets_.theirs.get());
    static_cast<void>(stream.Read(buffer));
  }
  peer.to_send = "pay 10";
  peer.Play();
  change = true;
  forward(far.ours.get(), sockets_.theirs.get());
  const Stream::Result result = stream.Read(buffer);
  EXPECT_EQ(result.status, Status::kFailed);
  EXPECT_EQ(result.error, EPROTO);
  EXPECT_THAT(stream.why(), HasSubstr("TLS: "));
}

class ServerStreamTest : public StreamTest {};
INSTANTIATE_TEST_SUITE_P(, ServerStreamTest, testing::Values(Role::kServer), NameOfRole);

TEST_P(ServerStreamTest, WantsACertificate) {
  OpenSslPeer::Habits habits = Fitting();
  habits.identity = nullptr;
  OpenSslPeer peer(sockets_.theirs.get(), habits);
  peer.to_send = "anonymous";
  Stream stream(context_, sockets_.ours.get(), Options());
  EXPECT_EQ(Shake(stream, peer).status, Status::kFailed);
  EXPECT_THAT(stream.why(), HasSubstr("peer did not return a certificate"));
  EXPECT_THAT(peer.error, HasSubstr("certificate required"));
  std::array<char, 100> buffer;
  EXPECT_EQ(stream.Read(buffer).status, Status::kFailed);
}

TEST_P(ServerStreamTest, ChoosesIstioOfWhatIsOffered) {
  const std::pair<std::string, std::string> cases[] = {
      {"", ""},
      {"\x13istio-peer-exchange\x05istio", "istio"},
      {"\x0eistio-http/1.1\x05istio\x08http/1.1", "istio"},
      {"\x13istio-peer-exchange", ""},
      {"\x02h2\x08http/1.1", ""},
  };
  for (const auto& [offered, chosen] : cases) {
    SCOPED_TRACE(offered);
    const SocketPair sockets;
    OpenSslPeer::Habits habits = Fitting();
    habits.alpn = offered;
    OpenSslPeer peer(sockets.theirs.get(), habits);
    Stream stream(context_, sockets.ours.get(), Options());
    ASSERT_EQ(Shake(stream, peer).status, Status::kDone) << stream.why();
    EXPECT_EQ(stream.protocol(), chosen);
  }
}

// So that a peer that is no longer allowed is checked the next time.
TEST_P(ServerStreamTest, GivesNoTickets) {
  OpenSslPeer peer(sockets_.theirs.get(), Fitting());
  Stream stream(context_, sockets_.ours.get(), Options());
  ASSERT_EQ(Shake(stream, peer).status, Status::kDone);
  ASSERT_EQ(stream.Write(std::string("x")).status, Status::kDone);
  peer.Play();
  ASSERT_EQ(peer.received, "x");
  EXPECT_EQ(SSL_SESSION_is_resumable(SSL_get_session(peer.ssl())), 0);
}

}  // namespace
}  // namespace sluice::tls
