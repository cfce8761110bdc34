// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Sessions with mutual TLS at one end or both; the peer is plain OpenSSL.
#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proxy/mtls/tls_transport.h"
#include "proxy/relay/layers.h"
#include "test/unit/proxy/session_fixture.h"
#include "test/unit/tls/openssl_peer.h"

namespace sluice::proxy {
namespace {

using Role = tls::Stream::Role;
using tls::OpenSslPeer;

std::string RandomBytes(std::size_t size) {
  std::minstd_rand random(3);
  std::string out(size, '\0');
  for (char& byte : out) byte = static_cast<char>(random());
  return out;
}

// A plaintext peer.
struct PlainPeer {
  int fd = -1;
  std::string to_send = {};
  bool ends = false;
  std::string received = {};
  bool got_end = false;
  bool sent_end = false;
  int error = 0;

  void Play() {
    while (!to_send.empty() && error == 0) {
      const ssize_t sent = ::send(fd, to_send.data(), to_send.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent <= 0) break;
      to_send.erase(0, static_cast<std::size_t>(sent));
    }
    if (to_send.empty() && ends && !sent_end) sent_end = ::shutdown(fd, SHUT_WR) == 0;
    char buffer[16384];
    while (!got_end && error == 0) {
      const ssize_t got = ::recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
      if (got < 0 && errno == EAGAIN) break;
      if (got < 0) error = errno;
      if (got == 0) got_end = true;
      if (got > 0) received.append(buffer, static_cast<std::size_t>(got));
    }
  }
};

class TlsSessionTest : public SessionTest {
 protected:
  std::unique_ptr<TlsTransport> Transport(int fd, Role role) {
    auto out = std::make_unique<TlsTransport>(
        context_, fd, tls::Stream::Options{.role = role, .allowed = allowed_, .server_name = {}});
    stream_ = &out->stream();
    return out;
  }
  // As in a client's proxy, and as in a server's.
  void UseTowardsServer() {
    auto layers = std::make_unique<Layers>();
    layers->server = Transport(session_.server_fd(), Role::kClient);
    session_.Use(std::move(layers));
  }
  void UseTowardsClient() {
    auto layers = std::make_unique<Layers>();
    layers->client = Transport(session_.client_fd(), Role::kServer);
    session_.Use(std::move(layers));
  }

  // Also after the session is closed: bytes that it has written are still in flight.
  template <typename One, typename Other, typename Done>
  bool Until(One& one, Other& other, const Done& done) {
    for (int turns = 0; turns < 20'000; ++turns) {
      one.Play();
      other.Play();
      if (done()) return true;
      if (turns % 16 == 0) ++worker_.now_ticks;
      Turn(1);
    }
    return false;
  }

  const tls::TestIdentity root_ = tls::Issue(tls::TestCa("root"));
  const tls::TestIdentity peer_identity_ = tls::Issue({}, &root_);
  const tls::TestIdentity own_identity_ =
      tls::Issue({.names = "URI:spiffe://cluster.local/ns/shop/sa/own"}, &root_);
  const std::shared_ptr<const tls::Context> context_ = tls::MakeContext(own_identity_, root_.Pem());
  tls::Stream::Allowed allowed_ = tls::Patterns({"spiffe://cluster.local/ns/shop/sa/cart"});
  const tls::Stream* stream_ = nullptr;
};

TEST_F(TlsSessionTest, SpeaksTlsToTheServer) {
  Open();
  UseTowardsServer();
  OpenSslPeer server(server_.get(), {.server = true, .identity = &peer_identity_});
  PlainPeer client{.fd = client_.get()};
  const std::string request = RandomBytes(300'000);
  const std::string response = RandomBytes(500'000);
  client.to_send = request;
  client.ends = true;
  server.to_send = response;
  EXPECT_TRUE(Until(client, server, [&] { return server.got_end; })) << server.error;
  EXPECT_TRUE(server.received == request);
  server.ends = true;
  EXPECT_TRUE(Until(client, server, [&] { return client.got_end && !session_.open(); }));
  EXPECT_TRUE(client.received == response);
  EXPECT_EQ(client.error, 0);
}

TEST_F(TlsSessionTest, SpeaksTlsToTheClient) {
  Open();
  UseTowardsClient();
  OpenSslPeer client(client_.get(), {.server = false, .identity = &peer_identity_});
  PlainPeer server{.fd = server_.get()};
  const std::string request = RandomBytes(300'000);
  const std::string response = RandomBytes(500'000);
  client.to_send = request;
  client.ends = true;
  server.to_send = response;
  server.ends = true;
  EXPECT_TRUE(Until(client, server, [&] {
    return server.got_end && client.got_end && !session_.open();
  })) << client.error;
  EXPECT_TRUE(server.received == request);
  EXPECT_TRUE(client.received == response);
}

TEST_F(TlsSessionTest, ServesAServerThatSpeaksFirst) {
  Open();
  UseTowardsServer();
  OpenSslPeer server(server_.get(), {.server = true, .identity = &peer_identity_});
  PlainPeer client{.fd = client_.get()};
  server.to_send = "220 ready\r\n";
  EXPECT_TRUE(Until(client, server, [&] { return client.received == "220 ready\r\n"; }));
  EXPECT_TRUE(stream_->established());
}

TEST_F(TlsSessionTest, ResetsTheClientWhenTheServerIsSomebodyElse) {
  allowed_ = tls::Patterns({"spiffe://cluster.local/ns/shop/sa/till"});
  Open();
  UseTowardsServer();
  OpenSslPeer server(server_.get(), {.server = true, .identity = &peer_identity_});
  PlainPeer client{.fd = client_.get(), .to_send = "secret"};
  server.to_send = "welcome";
  EXPECT_TRUE(Until(client, server, [&] { return !session_.open() && client.error != 0; }));
  EXPECT_EQ(client.error, ECONNRESET);
  EXPECT_EQ(client.received, "");
  EXPECT_EQ(server.received, "");
  EXPECT_NE(server.error, "");
}

TEST_F(TlsSessionTest, KeepsClientsOutThatAreNotAllowed) {
  allowed_ = tls::Patterns({"spiffe://cluster.local/ns/shop/sa/till"});
  Open();
  UseTowardsClient();
  OpenSslPeer client(client_.get(), {.server = false, .identity = &peer_identity_});
  PlainPeer server{.fd = server_.get(), .to_send = "welcome"};
  client.to_send = "let me in";
  EXPECT_TRUE(Until(client, server, [&] { return !session_.open() && server.error != 0; }));
  EXPECT_EQ(server.received, "");
  EXPECT_EQ(server.error, ECONNRESET);
  EXPECT_EQ(client.received, "");
}

// Received bytes are delivered, and then a reset: never an end that looks complete.
TEST_F(TlsSessionTest, PassesATruncatedStreamOnAsAReset) {
  Open();
  UseTowardsServer();
  OpenSslPeer server(server_.get(), {.server = true, .identity = &peer_identity_});
  PlainPeer client{.fd = client_.get(), .to_send = "request"};
  server.to_send = "half of the ";
  EXPECT_TRUE(Until(client, server, [&] { return server.received == "request"; }));
  ASSERT_EQ(::shutdown(server_.get(), SHUT_WR), 0);
  EXPECT_TRUE(Until(client, server, [&] { return client.error != 0 || client.got_end; }));
  EXPECT_EQ(client.received, "half of the ");
  EXPECT_EQ(client.error, ECONNRESET);
}

TEST_F(TlsSessionTest, PassesAResetOnBothWays) {
  Open();
  UseTowardsServer();
  {
    OpenSslPeer server(server_.get(), {.server = true, .identity = &peer_identity_});
    PlainPeer client{.fd = client_.get(), .to_send = "request"};
    EXPECT_TRUE(Until(client, server, [&] { return server.received == "request"; }));
  }
  Reset(std::move(server_));
  EXPECT_EQ(ClientGets(), "");
  EXPECT_EQ(errno, ECONNRESET);
  EXPECT_FALSE(session_.open());
}

TEST_F(TlsSessionTest, ResetsTheServerWithTheClient) {
  Open();
  UseTowardsServer();
  OpenSslPeer server(server_.get(), {.server = true, .identity = &peer_identity_});
  PlainPeer client{.fd = client_.get(), .to_send = "request"};
  EXPECT_TRUE(Until(client, server, [&] { return server.received == "request"; }));
  Reset(std::move(client_));
  PlainPeer gone{.fd = -1, .got_end = true};
  EXPECT_TRUE(Until(gone, server, [&] { return !server.error.empty() || server.got_end; }));
  EXPECT_FALSE(server.got_end) << "an end that looks whole";
}

// A peer that reads nothing: buffering is bounded, and the other direction continues.
TEST_F(TlsSessionTest, HoldsLittleForAReceiverThatIsFull) {
  Open();
  UseTowardsServer();
  OpenSslPeer server(server_.get(), {.server = true, .identity = &peer_identity_});
  PlainPeer client{.fd = client_.get()};
  server.reads = false;
  const int small = 64 * 1024;
  for (const int fd : {client_.get(), session_.server_fd()}) {
    ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
  }
  for (const int fd : {server_.get(), session_.client_fd()}) {
    ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
  }
  const std::string request = RandomBytes(2'000'000);
  client.to_send = request;
  server.to_send = "hello";
  EXPECT_TRUE(Until(client, server, [&] { return client.received == "hello"; }));
  std::size_t left = 0;
  // Until nothing moves any more.
  EXPECT_TRUE(Until(client, server, [&] {
    return std::exchange(left, client.to_send.size()) == left && relay_->buffered_bytes > 0;
  }));
  EXPECT_GT(left, 0U);
  EXPECT_LE(relay_->buffered_bytes, RelayResources::kBufferBytes);
  server.reads = true;
  client.ends = true;
  EXPECT_TRUE(Until(client, server, [&] { return server.got_end; })) << server.error;
  EXPECT_TRUE(server.received == request);
}

}  // namespace
}  // namespace sluice::proxy
