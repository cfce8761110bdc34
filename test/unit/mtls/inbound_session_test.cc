// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Sessions of which mutual TLS is asked before anybody is connected to the application.
#include <fcntl.h>

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/mtls/credential_directory.h"
#include "test/unit/proxy/client_hello.h"
#include "test/unit/proxy/session_fixture.h"
#include "test/unit/tls/openssl_peer.h"

namespace sluice::proxy {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using tls::OpenSslPeer;

constexpr const char* kPeer = "spiffe://cluster.local/ns/shop/sa/cart";

class InboundSessionTest : public SessionTest {
 protected:
  InboundSessionTest() {
    config_.mtls = {.credentials = {.directory = directory_.path(), .bundles = {}},
                    .inbound = MtlsInbound::kStrict,
                    .allow = {tls::SpiffePattern::Parse("spiffe://cluster.local/ns/shop/sa/*")}};
    mtls_ = std::make_unique<MutualTls>(config_.mtls);
    worker_.mtls = mtls_.get();
    // The application is asked whether somebody has come.
    ::fcntl(listener_.fd.get(), F_SETFL, O_NONBLOCK);
  }
  ~InboundSessionTest() override {
    if (session_.open()) session_.Abort(worker_, Failure::kDrainTimeout);
  }

  void OpenInbound() { OpenInbound(session_, client_); }
  void OpenInbound(Session& session, UniqueFd& client) {
    const LoopbackListener front;
    client.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_storage raw;
    const socklen_t length = ToSockaddr(front.address, raw);
    ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&raw), length), 0);
    UniqueFd accepted = front.Accept(SOCK_NONBLOCK);
    ASSERT_TRUE(accepted);
    ASSERT_EQ(session.Open(worker_, Direction::kInbound, accepted.release(),
                           LocalAddress(client.get()), listener_.address, false),
              0);
  }
  bool ApplicationIsReached() {
    if (!server_) server_ = listener_.Accept();
    return static_cast<bool>(server_);
  }
  template <typename Done>
  bool Until(OpenSslPeer& client, const Done& done) {
    for (int turns = 0; turns < 5'000; ++turns) {
      client.Play();
      if (done()) return true;
      Turn(1);
    }
    return false;
  }
  // A client that comes with `habits` and has something to say is reset, and the application does
  // not hear of it. Returns the line of the log.
  std::string Refused(const OpenSslPeer::Habits& habits) {
    OpenInbound();
    OpenSslPeer client(client_.get(), habits);
    client.to_send = "let me in";
    EXPECT_TRUE(Until(client, [&] { return !session_.open() && !client.error.empty(); }));
    EXPECT_FALSE(ApplicationIsReached());
    EXPECT_EQ(stats_.of(Direction::kInbound).pending.Get(), 0U);
    EXPECT_EQ(stats_.of(Direction::kInbound)
                  .failures[static_cast<std::size_t>(Failure::kTlsHandshake)]
                  .Get(),
              1U);
    return worker_.log_lines;
  }

  const tls::TestIdentity root_ = tls::Issue(tls::ValidToday(tls::TestCa("root")));
  const tls::TestIdentity own_ =
      tls::Issue(tls::Workload("spiffe://cluster.local/ns/shop/sa/own"), &root_);
  const tls::TestIdentity peer_ = tls::Issue(tls::Workload(kPeer), &root_);
  const tls::CredentialDirectory directory_{own_, root_.Pem()};
  std::unique_ptr<MutualTls> mtls_;
};

TEST_F(InboundSessionTest, ConnectsToTheApplicationBehindTheHandshake) {
  OpenInbound();
  EXPECT_EQ(session_.Info(worker_).state, "handshaking");
  EXPECT_EQ(stats_.of(Direction::kInbound).pending.Get(), 1U);
  Turn(0);
  EXPECT_FALSE(ApplicationIsReached());
  OpenSslPeer client(client_.get(), {.server = false, .identity = &peer_});
  // In the same segment as the end of the handshake.
  client.to_send = "hello";
  ASSERT_TRUE(Until(client, [&] { return ApplicationIsReached(); }));
  EXPECT_TRUE(client.established());
  std::string got;
  ASSERT_TRUE(Until(client, [&] {
    char buffer[64];
    const ssize_t size = ::recv(server_.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
    if (size > 0) got.append(buffer, static_cast<std::size_t>(size));
    return got == "hello";
  }));
  EXPECT_EQ(session_.Info(worker_).state, "relaying");
  EXPECT_EQ(session_.Info(worker_).peer_uri_san, kPeer);
  EXPECT_EQ(stats_.of(Direction::kInbound).pending.Get(), 0U);
  SendAll(server_, "welcome");
  server_.reset();
  client.ends = true;
  ASSERT_TRUE(Until(client, [&] { return client.got_end && !session_.open(); }));
  EXPECT_EQ(client.received, "welcome");
  EXPECT_THAT(worker_.log_lines,
              AllOf(HasSubstr(std::string("\"downstream_peer_uri_san\":\"") + kPeer + '"'),
                    HasSubstr(R"("tls_version":"TLSv1.3")"), HasSubstr(R"("bytes_received":5)"),
                    HasSubstr(R"("response_flags":"-")"),
                    testing::Not(HasSubstr("downstream_transport_failure_reason"))));
}

TEST_F(InboundSessionTest, RefusesWhoHasNoCertificate) {
  EXPECT_THAT(Refused({.server = false}),
              AllOf(HasSubstr(R"("downstream_transport_failure_reason":"TLS_error:_TLS:_peer_did)"),
                    HasSubstr(R"("connection_termination_details":"tls_handshake")"),
                    HasSubstr(R"("upstream_host":"-")")));
}

TEST_F(InboundSessionTest, RefusesWhoIsNotAllowed) {
  const tls::TestIdentity other =
      tls::Issue(tls::Workload("spiffe://cluster.local/ns/bank/sa/cart"), &root_);
  EXPECT_THAT(Refused({.server = false, .identity = &other}),
              HasSubstr("the_peer_is_spiffe://cluster.local/ns/bank/sa/cart,_which_is_not"));
}

TEST_F(InboundSessionTest, RefusesWhoIsOfAnotherAuthority) {
  const tls::TestIdentity forger = tls::Issue(tls::ValidToday(tls::TestCa("root")));
  const tls::TestIdentity forged = tls::Issue(tls::Workload(kPeer), &forger);
  EXPECT_THAT(Refused({.server = false, .identity = &forged}),
              HasSubstr("TLS_error:_the_peer's_certificate:"));
}

TEST_F(InboundSessionTest, RefusesACertificateThatHasEnded) {
  tls::TestCertificate what = tls::Workload(kPeer);
  what.until = what.from + std::chrono::seconds(30);
  const tls::TestIdentity late = tls::Issue(what, &root_);
  EXPECT_THAT(Refused({.server = false, .identity = &late}), HasSubstr("expired"));
}

TEST_F(InboundSessionTest, SpeaksTls12WhenThatIsAllowed) {
  config_.mtls.oldest_tls = tls::OldestTls::k12;
  mtls_ = std::make_unique<MutualTls>(config_.mtls);
  worker_.mtls = mtls_.get();
  OpenInbound();
  OpenSslPeer client(client_.get(),
                     {.server = false, .identity = &peer_, .version = TLS1_2_VERSION});
  client.to_send = "hello";
  ASSERT_TRUE(Until(client, [&] { return ApplicationIsReached(); }));
  EXPECT_TRUE(Until(client, [&] { return session_.Info(worker_).tls_version == "TLSv1.2"; }));
  EXPECT_EQ(session_.Info(worker_).peer_uri_san, kPeer);
}

TEST_F(InboundSessionTest, RefusesTls12WithoutCertificate) {
  config_.mtls.oldest_tls = tls::OldestTls::k12;
  mtls_ = std::make_unique<MutualTls>(config_.mtls);
  worker_.mtls = mtls_.get();
  EXPECT_THAT(Refused({.server = false, .version = TLS1_2_VERSION}),
              HasSubstr("peer_did_not_return_a_certificate"));
}

TEST_F(InboundSessionTest, RefusesOlderTls) {
  EXPECT_THAT(Refused({.server = false, .identity = &peer_, .version = TLS1_2_VERSION}),
              HasSubstr("unsupported_protocol"));
}

TEST_F(InboundSessionTest, RefusesPlaintext) {
  OpenInbound();
  SendAll(client_, "GET / HTTP/1.1\r\nHost: cart\r\n\r\n");
  ClientGets();
  EXPECT_EQ(errno, ECONNRESET);
  EXPECT_FALSE(ApplicationIsReached());
  EXPECT_THAT(worker_.log_lines, AllOf(HasSubstr(R"("response_flags":"NR")"),
                                       HasSubstr("TLS_error:_the_peer_does_not_speak_TLS")));
}

TEST_F(InboundSessionTest, ResetsAClientThatSaysNothing) {
  OpenInbound();
  LetPass(config_.connect_timeout - std::chrono::milliseconds(100));
  EXPECT_TRUE(session_.open());
  LetPass(std::chrono::milliseconds(200));
  EXPECT_FALSE(session_.open());
  EXPECT_THAT(worker_.log_lines, HasSubstr("\"tls_handshake_timeout\""));
  EXPECT_EQ(stats_.of(Direction::kInbound).pending.Get(), 0U);
}

TEST_F(InboundSessionTest, TakesAProbeForAClientThatLeaves) {
  OpenInbound();
  client_.reset();
  for (int turns = 0; turns < 1'000 && session_.open(); ++turns) Turn(10);
  EXPECT_FALSE(session_.open());
  const auto& failures = stats_.of(Direction::kInbound).failures;
  EXPECT_EQ(failures[static_cast<std::size_t>(Failure::kClientReset)].Get(), 1U);
  EXPECT_EQ(failures[static_cast<std::size_t>(Failure::kTlsHandshake)].Get(), 0U);
}

TEST(HandshakeQueueTest, TakesThoseThatHaveBegunInTurnWithOthers) {
  std::array<Session, 6> sessions;
  HandshakeQueue queue;
  for (std::size_t i = 0; i < sessions.size(); ++i) queue.Append(sessions[i], i >= 4);
  EXPECT_EQ(queue.size(), 6U);
  for (const std::size_t next : {4, 0, 5, 1, 2}) EXPECT_EQ(&queue.Take(), &sessions[next]);
  queue.Append(sessions[4], true);
  EXPECT_EQ(&queue.Take(), &sessions[4]);
  EXPECT_EQ(&queue.Take(), &sessions[3]);
  EXPECT_TRUE(queue.empty());
}

// Whoever relays has a turn between two of them.
TEST_F(InboundSessionTest, MakesOneStepATurn) {
  std::vector<Session> sessions(3);
  std::vector<UniqueFd> clients(3);
  std::vector<std::unique_ptr<OpenSslPeer>> peers;
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    OpenInbound(sessions[i], clients[i]);
    peers.push_back(std::make_unique<OpenSslPeer>(
        clients[i].get(), OpenSslPeer::Habits{.server = false, .identity = &peer_}));
    peers[i]->Play();
  }
  for (int waits = 0; waits < 1'000 && worker_.handshakes.size() < 3; ++waits) Dispatch(10);
  ASSERT_EQ(worker_.handshakes.size(), 3U);
  EXPECT_TRUE(worker_.HasWork());
  ServeHandshake(worker_);
  EXPECT_EQ(worker_.handshakes.size(), 2U);
  // One that is closed meanwhile costs nobody a turn.
  sessions[1].Abort(worker_, Failure::kPendingLimit);
  ServeHandshake(worker_);
  EXPECT_EQ(worker_.handshakes.size(), 0U);
  for (Session& session : sessions) {
    if (session.open()) session.Abort(worker_, Failure::kDrainTimeout);
  }
}

class PermissiveSessionTest : public InboundSessionTest {
 protected:
  PermissiveSessionTest() {
    config_.mtls.inbound = MtlsInbound::kPermissive;
    mtls_ = std::make_unique<MutualTls>(config_.mtls);
    worker_.mtls = mtls_.get();
  }
  bool Turns(const std::function<bool()>& done) {
    for (int turns = 0; turns < 1'000; ++turns) {
      if (done()) return true;
      Turn(10);
    }
    return false;
  }
  // What the application gets of what a client sends that is no proxy.
  std::string Passes(const std::string& bytes) {
    OpenInbound();
    SendAll(client_, bytes);
    EXPECT_TRUE(Turns([&] { return ApplicationIsReached(); }));
    std::string got;
    Turns([&] {
      char buffer[4096];
      const ssize_t size = ::recv(server_.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
      if (size > 0) got.append(buffer, static_cast<std::size_t>(size));
      return got.size() >= bytes.size();
    });
    EXPECT_EQ(stats_.of(Direction::kInbound).permitted_plaintext.Get(), 1U);
    EXPECT_EQ(stats_.of(Direction::kInbound).of(Security::kNone).opened.Get(), 1U);
    return got;
  }
};

TEST_F(PermissiveSessionTest, TerminatesWhatProxiesSpeak) {
  OpenInbound();
  EXPECT_EQ(session_.Info(worker_).state, "detecting");
  OpenSslPeer client(
      client_.get(),
      {.server = false, .identity = &peer_, .alpn = "\x13istio-peer-exchange\x05istio"});
  client.to_send = "hello";
  ASSERT_TRUE(Until(client, [&] { return ApplicationIsReached(); }));
  std::string got;
  ASSERT_TRUE(Until(client, [&] {
    char buffer[64];
    const ssize_t size = ::recv(server_.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
    if (size > 0) got.append(buffer, static_cast<std::size_t>(size));
    return got == "hello";
  }));
  EXPECT_EQ(session_.Info(worker_).peer_uri_san, kPeer);
  EXPECT_EQ(stats_.of(Direction::kInbound).permitted_plaintext.Get(), 0U);
  EXPECT_EQ(stats_.of(Direction::kInbound).of(Security::kMutualTls).opened.Get(), 1U);
  EXPECT_EQ(stats_.of(Direction::kInbound).of(Security::kMutualTls).received_bytes.Get(), 5U);
}

TEST_F(PermissiveSessionTest, RefusesProxiesThatAreNotAllowed) {
  const tls::TestIdentity other =
      tls::Issue(tls::Workload("spiffe://cluster.local/ns/bank/sa/cart"), &root_);
  EXPECT_THAT(Refused({.server = false, .identity = &other, .alpn = "\x05istio"}),
              HasSubstr("which_is_not"));
}

TEST_F(PermissiveSessionTest, PassesPlaintext) {
  const std::string request = "GET / HTTP/1.1\r\nHost: cart\r\n\r\n";
  EXPECT_EQ(Passes(request), request);
}

TEST_F(PermissiveSessionTest, PassesTheTlsOfTheApplication) {
  const std::vector<std::uint8_t> hello = FromHex(kTls13HelloHex);
  const std::string bytes(hello.begin(), hello.end());
  EXPECT_EQ(Passes(bytes), bytes);
}

TEST_F(PermissiveSessionTest, LooksAgainAtEachPiece) {
  OpenInbound();
  const std::vector<std::uint8_t> hello = FromHex(kTls13HelloHex);
  const std::string bytes(hello.begin(), hello.end());
  std::size_t sent = 0;
  for (const std::size_t size : {1, 4, 100}) {
    SendAll(client_, bytes.substr(sent, size));
    sent += size;
    for (int turns = 0; turns < 5; ++turns) Turn(10);
    EXPECT_EQ(session_.Info(worker_).state, "detecting");
  }
  EXPECT_FALSE(ApplicationIsReached());
  // It says no more than that.
  LetPass(config_.mtls.detection_timeout * 2);
  ASSERT_TRUE(Turns([&] { return ApplicationIsReached(); }));
}

TEST_F(PermissiveSessionTest, DoesNotWaitForWhoWaits) {
  OpenInbound();
  for (int turns = 0; turns < 5; ++turns) Turn(1);
  EXPECT_FALSE(ApplicationIsReached());
  LetPass(config_.mtls.detection_timeout + std::chrono::milliseconds(100));
  ASSERT_TRUE(Turns([&] { return ApplicationIsReached(); }));
  Turn(10);
  SendAll(server_, "220 ready");
  std::string got;
  EXPECT_TRUE(Turns([&] {
    char buffer[64];
    const ssize_t size = ::recv(client_.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
    if (size > 0) got.append(buffer, static_cast<std::size_t>(size));
    return got == "220 ready";
  }));
}

TEST_F(PermissiveSessionTest, PassesAnEndThatComesFirst) {
  OpenInbound();
  ::shutdown(client_.get(), SHUT_WR);
  ASSERT_TRUE(Turns([&] { return ApplicationIsReached(); }));
  SendAll(server_, "all the same");
  server_.reset();
  EXPECT_EQ(ClientGets(), "all the same");
}

TEST_F(InboundSessionTest, LetsAConnectionGoOnWithNewCredentials) {
  OpenInbound();
  OpenSslPeer client(client_.get(), {.server = false, .identity = &peer_});
  ASSERT_TRUE(Until(client, [&] { return ApplicationIsReached(); }));
  const tls::TestIdentity root = tls::Issue(tls::ValidToday(tls::TestCa("another root")));
  directory_.Put(tls::Issue(tls::Workload("spiffe://cluster.local/ns/shop/sa/new"), &root),
                 root.Pem());
  mtls_->Look();
  ASSERT_EQ(mtls_->facts().credentials.reloads, 1U);
  client.to_send = "still here";
  client.ends = true;
  SendAll(server_, "welcome");
  std::string got;
  ASSERT_TRUE(Until(client, [&] {
    char buffer[64];
    const ssize_t size = ::recv(server_.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
    if (size > 0) got.append(buffer, static_cast<std::size_t>(size));
    return got == "still here" && client.received == "welcome";
  }));
}

}  // namespace
}  // namespace sluice::proxy
