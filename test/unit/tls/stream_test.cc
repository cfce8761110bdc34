// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "tls/stream/stream.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "test/unit/tls/openssl_peer.h"
#include "test/unit/tls/stream_fixture.h"

namespace sluice::tls {
namespace {

using Role = Stream::Role;
using Status = Stream::Status;
using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

INSTANTIATE_TEST_SUITE_P(, StreamTest, testing::Values(Role::kClient, Role::kServer), NameOfRole);

TEST_P(StreamTest, KnowsThePeerAfterTheHandshake) {
  OpenSslPeer peer(sockets_.theirs.get(), Fitting());
  Stream::Options options = Options(Patterns({"spiffe://cluster.local/ns/shop/sa/*"}));
  if (GetParam() == Role::kClient) options.server_name = "outbound_.80_._.cart.shop";
  Stream stream(context_, sockets_.ours.get(), options);
  EXPECT_EQ(stream.peer(), nullptr);
  EXPECT_EQ(stream.version(), "");
  ASSERT_EQ(Shake(stream, peer).status, Status::kDone) << stream.why();
  EXPECT_TRUE(stream.established());
  ASSERT_NE(stream.peer(), nullptr);
  EXPECT_EQ(stream.peer()->ToString(), "spiffe://cluster.local/ns/shop/sa/cart");
  EXPECT_EQ(stream.version(), "TLSv1.3");
  EXPECT_EQ(stream.why(), "");
  EXPECT_TRUE(peer.established()) << peer.error;
  EXPECT_EQ(peer.server_name, options.server_name);
}

// In pieces of every size, through buffers that are always full, in both directions at once.
TEST_P(StreamTest, CarriesBytesBothWays) {
  const std::string ours = RandomBytes(700'000);
  const std::string theirs = RandomBytes(900'001);
  for (const UniqueFd* fd : {&sockets_.ours, &sockets_.theirs}) {
    const int small = 1;
    ::setsockopt(fd->get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
  }
  OpenSslPeer::Habits habits = Fitting();
  habits.fragment_bytes = 1000;
  habits.padding_bytes = 512;
  OpenSslPeer peer(sockets_.theirs.get(), habits);
  peer.to_send = theirs;
  peer.ends = true;
  Stream stream(context_, sockets_.ours.get(), Options());
  std::minstd_rand random(2);
  std::string got;
  std::size_t sent = 0;
  // Waiting bytes are passed again, with more after them.
  std::size_t offered = 0;
  bool ended = false;
  bool said_end = false;
  bool waited_for_room = false;
  ASSERT_TRUE(Until([&] {
    if (sent < ours.size()) {
      offered = std::max<std::size_t>(offered, 1 + random() % 40'000);
      // At another address each time.
      const std::string bytes = ours.substr(sent, offered);
      const Stream::Result result = stream.Write(bytes);
      EXPECT_NE(result.status, Status::kFailed) << stream.why();
      if (result.status == Status::kDone) {
        EXPECT_GE(result.bytes, 1U);
        sent += result.bytes;
        offered = 0;
      }
      waited_for_room = waited_for_room || result.status == Status::kWaitsForRoom;
    } else if (!said_end) {
      said_end = stream.Shutdown().status == Status::kDone;
    }
    std::array<char, 20'000> buffer;
    const Stream::Result result =
        stream.Read(std::span(buffer).first(1 + random() % buffer.size()));
    EXPECT_NE(result.status, Status::kFailed) << stream.why();
    if (result.status == Status::kDone) got.append(buffer.data(), result.bytes);
    ended = ended || result.status == Status::kEnded;
    peer.Play();
    return testing::Test::HasFailure() || !peer.error.empty() ||
           (ended && said_end && peer.got_end);
  }));
  EXPECT_EQ(peer.error, "");
  EXPECT_TRUE(got == theirs);
  EXPECT_TRUE(peer.received == ours);
  EXPECT_TRUE(waited_for_room);
}

// A byte at a time, as a hostile network may deliver it.
TEST_P(StreamTest, TakesBytesOneByOne) {
  SocketPair far;
  OpenSslPeer peer(far.theirs.get(), Fitting());
  peer.to_send = "hello";
  Stream stream(context_, sockets_.ours.get(), Options());
  std::array<char, 100> buffer;
  Stream::Result result;
  ASSERT_TRUE(Until([&] {
    result = stream.Read(buffer);
    peer.Play();
    const int ends[2][2] = {{far.ours.get(), sockets_.theirs.get()},
                            {sockets_.theirs.get(), far.ours.get()}};
    for (const auto& [from, to] : ends) {
      char byte = 0;
      if (::recv(from, &byte, 1, 0) != 1) continue;
      EXPECT_EQ(::send(to, &byte, 1, MSG_NOSIGNAL), 1);
    }
    return result.status == Status::kDone || result.status == Status::kFailed;
  }));
  EXPECT_EQ(std::string_view(buffer.data(), result.bytes), "hello") << stream.why();
}

TEST_P(StreamTest, EndsEachDirectionByItself) {
  OpenSslPeer peer(sockets_.theirs.get(), Fitting());
  Stream stream(context_, sockets_.ours.get(), Options());
  ASSERT_EQ(Shake(stream, peer).status, Status::kDone);
  peer.ends = true;
  peer.Play();
  std::array<char, 100> buffer;
  ASSERT_TRUE(Until([&] { return stream.Read(buffer).status == Status::kEnded; }));
  EXPECT_EQ(stream.Read(buffer).status, Status::kEnded);
  EXPECT_EQ(stream.Write(std::string("more")).status, Status::kDone);
  peer.Play();
  EXPECT_EQ(peer.received, "more");
  EXPECT_FALSE(peer.got_end);
  EXPECT_EQ(stream.Shutdown().status, Status::kDone);
  peer.Play();
  EXPECT_TRUE(peer.got_end) << peer.error;
}

TEST_P(StreamTest, ReadsOnAfterItsOwnEnd) {
  OpenSslPeer peer(sockets_.theirs.get(), Fitting());
  Stream stream(context_, sockets_.ours.get(), Options());
  // Called at once: the handshake comes first.
  ASSERT_TRUE(Until([&] {
    peer.Play();
    return stream.Shutdown().status == Status::kDone;
  }));
  peer.to_send = "an answer";
  peer.Play();
  EXPECT_TRUE(peer.got_end) << peer.error;
  std::array<char, 100> buffer;
  Stream::Result result;
  ASSERT_TRUE(Until([&] {
    result = stream.Read(buffer);
    return result.status == Status::kDone || result.status == Status::kFailed;
  }));
  EXPECT_EQ(std::string_view(buffer.data(), result.bytes), "an answer");
  EXPECT_EQ(stream.Read(buffer).status, Status::kWaitsForInput);
}

TEST_P(StreamTest, TakesAnEndWithoutCloseNotifyForACut) {
  OpenSslPeer peer(sockets_.theirs.get(), Fitting());
  Stream stream(context_, sockets_.ours.get(), Options());
  ASSERT_EQ(Shake(stream, peer).status, Status::kDone);
  peer.to_send = "half of ";
  peer.Play();
  ASSERT_EQ(::shutdown(sockets_.theirs.get(), SHUT_WR), 0);
  std::array<char, 100> buffer;
  Stream::Result result;
  ASSERT_TRUE(Until([&] {
    result = stream.Read(buffer);
    return result.status == Status::kDone;
  }));
  EXPECT_EQ(std::string_view(buffer.data(), result.bytes), "half of ");
  for (int i = 0; i < 2; ++i) {
    result = stream.Read(buffer);
    EXPECT_EQ(result.status, Status::kFailed);
    EXPECT_EQ(result.error, ECONNRESET);
  }
  EXPECT_THAT(stream.why(), HasSubstr("cut off"));
}

TEST_P(StreamTest, SaysThatThePeerWentAwayDuringTheHandshake) {
  Stream stream(context_, sockets_.ours.get(), Options());
  EXPECT_EQ(stream.Handshake().status, Status::kWaitsForInput);
  EXPECT_EQ(stream.Handshake().status, Status::kWaitsForInput);
  sockets_.theirs.reset();
  std::array<char, 100> buffer;
  const Stream::Result result = stream.Read(buffer);
  EXPECT_EQ(result.status, Status::kFailed);
  EXPECT_EQ(result.error, ECONNRESET);
  EXPECT_NE(stream.why(), "");
  EXPECT_EQ(stream.Handshake().status, Status::kFailed);
}

// Received bytes are returned although nothing can be written any more.
TEST_P(StreamTest, ReadsWhatCameBeforeAFailedWrite) {
  OpenSslPeer peer(sockets_.theirs.get(), Fitting());
  Stream stream(context_, sockets_.ours.get(), Options());
  ASSERT_EQ(Shake(stream, peer).status, Status::kDone);
  peer.to_send = "last words";
  peer.ends = true;
  peer.Play();
  sockets_.theirs.reset();
  const Stream::Result written = stream.Write(std::string("too late"));
  EXPECT_EQ(written.status, Status::kFailed);
  EXPECT_THAT(written.error, AnyOf(EPIPE, ECONNRESET));
  std::array<char, 100> buffer;
  Stream::Result result;
  ASSERT_TRUE(Until([&] {
    result = stream.Read(buffer);
    return result.status == Status::kDone || result.status == Status::kFailed;
  }));
  EXPECT_EQ(std::string_view(buffer.data(), result.bytes), "last words");
  EXPECT_EQ(stream.Read(buffer).status, Status::kEnded);
}

// A peer's first bytes may come with the end of its handshake; no event reports them.
TEST_P(StreamTest, HasBytesThatCameWithTheHandshake) {
  OpenSslPeer peer(sockets_.theirs.get(), Fitting());
  peer.to_send = "early";
  Stream stream(context_, sockets_.ours.get(), Options());
  ASSERT_EQ(Shake(stream, peer).status, Status::kDone);
  std::array<char, 100> buffer;
  const Stream::Result result = stream.Read(buffer);
  ASSERT_EQ(result.status, Status::kDone) << stream.why();
  EXPECT_EQ(std::string_view(buffer.data(), result.bytes), "early");
}

TEST_P(StreamTest, AnswersNewKeys) {
  OpenSslPeer peer(sockets_.theirs.get(), Fitting());
  Stream stream(context_, sockets_.ours.get(), Options());
  ASSERT_EQ(Shake(stream, peer).status, Status::kDone);
  std::array<char, 100> buffer;
  while (stream.Read(buffer).status == Status::kAgain) continue;  // tickets
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(SSL_key_update(peer.ssl(), SSL_KEY_UPDATE_REQUESTED), 1);
    ASSERT_EQ(SSL_do_handshake(peer.ssl()), 1);
  }
  peer.to_send = "with new keys";
  peer.Play();
  Stream::Result result;
  ASSERT_TRUE(Until([&] {
    result = stream.Read(buffer);
    return result.status != Status::kAgain;
  }));
  EXPECT_EQ(std::string_view(buffer.data(), result.bytes), "with new keys") << stream.why();
  EXPECT_EQ(stream.Write(std::string("and ours")).status, Status::kDone);
  peer.Play();
  EXPECT_EQ(peer.received, "and ours") << peer.error;
  EXPECT_TRUE(stream.established());
}

// Records without content, as many as a hostile peer likes: one call handles one buffer.
TEST_P(StreamTest, GivesWayToOthersInAFlood) {
  const SocketPair far;
  OpenSslPeer peer(far.theirs.get(), Fitting());
  Stream stream(context_, sockets_.ours.get(), Options());
  std::array<char, 8192> buffer;
  const auto take = [&](int from) {
    std::string out;
    while (true) {
      const ssize_t got = ::recv(from, buffer.data(), buffer.size(), 0);
      if (got <= 0) return out;
      out.append(buffer.data(), static_cast<std::size_t>(got));
    }
  };
  const auto give = [&](int to, const std::string& bytes) {
    if (bytes.empty()) return;
    EXPECT_EQ(::send(to, bytes.data(), bytes.size(), MSG_NOSIGNAL), ssize_t(bytes.size()));
  };
  ASSERT_TRUE(Until([&] {
    static_cast<void>(stream.Handshake());
    peer.Play();
    give(sockets_.theirs.get(), take(far.ours.get()));
    give(far.ours.get(), take(sockets_.theirs.get()));
    return stream.established() && peer.established();
  }));
  std::string flood;
  while (flood.size() < 50'000) {
    ASSERT_EQ(SSL_key_update(peer.ssl(), SSL_KEY_UPDATE_NOT_REQUESTED), 1);
    ASSERT_EQ(SSL_do_handshake(peer.ssl()), 1);
    flood += take(far.ours.get());
  }
  peer.to_send = "at last";
  peer.Play();
  give(sockets_.theirs.get(), flood + take(far.ours.get()));
  int gave_way = 0;
  Stream::Result result;
  ASSERT_TRUE(Until([&] {
    result = stream.Read(buffer);
    if (result.status == Status::kAgain) ++gave_way;
    return result.status != Status::kAgain;
  }));
  EXPECT_EQ(std::string_view(buffer.data(), result.bytes), "at last") << stream.why();
  EXPECT_GE(gave_way, 2);
}

// Neither end learns a byte from the other.
// One Context, as in the workers.
TEST(StreamThreadsTest, ShareAContext) {
  const TestIdentity root = Issue(TestCa("root"));
  const TestIdentity cart = Issue({}, &root);
  const auto context = MakeContext(cart, root.Pem());
  std::vector<std::thread> threads;
  std::array<int, 4> done{};
  for (int& count : done) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10; ++i) {
        const SocketPair sockets;
        Stream client(context, sockets.ours.get(), {.role = Role::kClient});
        Stream server(context, sockets.theirs.get(), {.role = Role::kServer});
        for (int step = 0; step < 10; ++step) {
          static_cast<void>(client.Handshake());
          static_cast<void>(server.Handshake());
        }
        if (client.established() && server.established() && server.protocol() == "istio") ++count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int count : done) EXPECT_EQ(count, 10);
}

}  // namespace
}  // namespace sluice::tls
