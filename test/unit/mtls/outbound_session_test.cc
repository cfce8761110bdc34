// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Sessions to destinations that have to answer over mutual TLS.
#include <memory>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/mtls/credential_directory.h"
#include "test/unit/proxy/session_fixture.h"
#include "test/unit/tls/openssl_peer.h"

namespace sluice::proxy {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using tls::OpenSslPeer;

constexpr const char* kServer = "spiffe://cluster.local/ns/shop/sa/cart";
constexpr const char* kSecret = "the secret of the application";

class OutboundSessionTest : public SessionTest {
 protected:
  OutboundSessionTest() {
    Rule("127.0.0.1 " + std::to_string(listener_.address.port) + " " + kServer + "\n");
  }
  ~OutboundSessionTest() override {
    if (session_.open()) session_.Abort(worker_, Failure::kDrainTimeout);
  }

  void Rule(const std::string& rules) {
    directory_.Write("rules", rules);
    mtls_ = std::make_unique<MutualTls>(
        MtlsConfig{.credentials = {.directory = directory_.path(), .bundles = {}},
                   .outbound_file = directory_.File("rules")});
    worker_.mtls = mtls_.get();
  }
  // What the client has got so far.
  bool ClientHas(const std::string& text) {
    char buffer[1024];
    const ssize_t got = ::recv(client_.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
    if (got > 0) client_got_.append(buffer, static_cast<std::size_t>(got));
    return client_got_ == text;
  }
  template <typename Done>
  bool Until(OpenSslPeer& server, const Done& done) {
    for (int turns = 0; turns < 5'000; ++turns) {
      server.Play();
      if (done()) return true;
      Turn(1);
    }
    return false;
  }
  // The connection has not come about, and the server has seen nothing of the application.
  void ExpectRefused(const std::string& reason) {
    EXPECT_EQ(ClientGets(), "");
    EXPECT_EQ(errno, ECONNRESET);
    EXPECT_FALSE(session_.open());
    EXPECT_THAT(worker_.log_lines,
                AllOf(HasSubstr(R"("response_flags":"UF,URX")"), HasSubstr(reason),
                      HasSubstr(R"("connection_termination_details":"tls_handshake)"),
                      HasSubstr(R"("bytes_sent":0)")));
    EXPECT_EQ(stats_.of(Direction::kOutbound).pending.Get(), 0U);
  }

  const tls::TestIdentity root_ = tls::Issue(tls::ValidToday(tls::TestCa("root")));
  const tls::TestIdentity own_ =
      tls::Issue(tls::Workload("spiffe://cluster.local/ns/shop/sa/own"), &root_);
  const tls::TestIdentity peer_ = tls::Issue(tls::Workload(kServer), &root_);
  const tls::CredentialDirectory directory_{own_, root_.Pem()};
  std::unique_ptr<MutualTls> mtls_;
  std::string client_got_;
};

TEST_F(OutboundSessionTest, SpeaksTlsWhereARuleAsksForIt) {
  Open();
  SendAll(client_, kSecret);
  OpenSslPeer server(server_.get(), {.server = true, .identity = &peer_});
  server.to_send = "welcome";
  ASSERT_TRUE(Until(server, [&] { return server.received == kSecret && ClientHas("welcome"); }));
  EXPECT_EQ(session_.Info(worker_).state, "relaying");
  server.ends = true;
  client_.reset();
  ASSERT_TRUE(Until(server, [&] { return !session_.open(); }));
  EXPECT_THAT(worker_.log_lines,
              AllOf(HasSubstr(std::string("\"upstream_peer_uri_san\":\"") + kServer + '"'),
                    HasSubstr(R"("tls_version":"TLSv1.3")"),
                    HasSubstr(R"("upstream_transport_failure_reason":"-")")));
}

TEST_F(OutboundSessionTest, ServesAServerThatSpeaksFirst) {
  Open();
  OpenSslPeer server(server_.get(), {.server = true, .identity = &peer_});
  server.to_send = "220 ready\r\n";
  EXPECT_TRUE(Until(server, [&] { return ClientHas("220 ready\r\n"); }));
}

TEST_F(OutboundSessionTest, LeavesOtherDestinationsAlone) {
  Rule("127.0.0.2 * spiffe://cluster.local/ns/shop/sa/cart\n");
  Open();
  SendAll(client_, "plain");
  for (int turns = 0; turns < 10; ++turns) Turn(10);
  char buffer[64];
  EXPECT_EQ(::recv(server_.get(), buffer, sizeof(buffer), 0), 5);
}

TEST_F(OutboundSessionTest, SendsNoByteToWhoAnswersInPlaintext) {
  Open();
  SendAll(client_, kSecret);
  for (int turns = 0; turns < 10; ++turns) Turn(10);
  std::string seen(4096, '\0');
  const ssize_t got = ::recv(server_.get(), seen.data(), seen.size(), 0);
  ASSERT_GT(got, 0);
  seen.resize(static_cast<std::size_t>(got));
  EXPECT_EQ(seen[0], 22) << "a record of a TLS handshake";
  EXPECT_THAT(seen, Not(HasSubstr(kSecret)));
  SendAll(server_, "HTTP/1.1 200 OK\r\n\r\nwelcome");
  ExpectRefused("TLS_error:_the_peer_does_not_speak_TLS");
  char rest[64];
  EXPECT_LT(::recv(server_.get(), rest, sizeof(rest), 0), 0);
}

TEST_F(OutboundSessionTest, SendsNoByteToSomebodyElse) {
  Open();
  SendAll(client_, kSecret);
  const tls::TestIdentity other =
      tls::Issue(tls::Workload("spiffe://cluster.local/ns/shop/sa/till"), &root_);
  OpenSslPeer server(server_.get(), {.server = true, .identity = &other});
  server.to_send = "welcome";
  ASSERT_TRUE(Until(server, [&] { return !session_.open() && !server.error.empty(); }));
  EXPECT_EQ(server.received, "");
  ExpectRefused("the_peer_is_spiffe://cluster.local/ns/shop/sa/till,_which_is_not_allowed");
}

TEST_F(OutboundSessionTest, SaysThatTheServerRefuses) {
  Open();
  SendAll(client_, kSecret);
  OpenSslPeer server(server_.get(), {.server = true, .identity = &peer_, .refuses = true});
  ASSERT_TRUE(Until(server, [&] { return !session_.open(); }));
  EXPECT_EQ(server.received, "");
  ExpectRefused("alert");
}

TEST_F(OutboundSessionTest, DeliversNothingOfAServerThatResets) {
  Open();
  SendAll(server_, "welcome");
  Reset(std::move(server_));
  ExpectRefused("TLS_error:");
}

TEST_F(OutboundSessionTest, GivesASilentServerUp) {
  Open();
  SendAll(client_, kSecret);
  for (int turns = 0; turns < 10; ++turns) Turn(10);
  LetPass(config_.connect_timeout * 2);
  ExpectRefused("not_come_to_its_end_in_time");
}

TEST_F(OutboundSessionTest, EndsWithItsClient) {
  Open();
  for (int turns = 0; turns < 10; ++turns) Turn(10);
  EXPECT_EQ(session_.Info(worker_).state, "handshaking");
  Reset(std::move(client_));
  for (int turns = 0; turns < 1'000 && session_.open(); ++turns) Turn(10);
  EXPECT_FALSE(session_.open());
  EXPECT_EQ(stats_.of(Direction::kOutbound)
                .failures[static_cast<std::size_t>(Failure::kClientReset)]
                .Get(),
            1U);
}

}  // namespace
}  // namespace sluice::proxy
