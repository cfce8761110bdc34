// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Streams whose records are the kernel's, if it can do that: over TCP, with OpenSSL at the other
// end. They behave the same where it cannot. test/vm runs them where it can.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <random>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/unique_fd.h"
#include "test/unit/tls/openssl_peer.h"
#include "test/unit/tls/stream_fixture.h"
#include "tls/stream/kernel_records.h"
#include "tls/stream/stream.h"

namespace sluice::tls {
namespace {

using Role = Stream::Role;
using Status = Stream::Status;
using testing::HasSubstr;

class KernelStreamTest : public StreamFixture {
 protected:
  KernelStreamTest() : StreamFixture(Records::kKernel) {}

  struct Sockets {
    UniqueFd ours;
    UniqueFd theirs;

    // With small buffers, which are full soon, if `room_bytes` is given.
    explicit Sockets(int room_bytes = 0) {
      const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      ours.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      if (room_bytes > 0) {
        // What is accepted has it from the listener.
        for (const int fd : {listener.get(), ours.get()}) {
          ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room_bytes, sizeof(room_bytes));
          ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room_bytes, sizeof(room_bytes));
        }
      }
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      socklen_t size = sizeof(address);
      auto* const generic = reinterpret_cast<sockaddr*>(&address);
      EXPECT_EQ(::bind(listener.get(), generic, size), 0);
      EXPECT_EQ(::listen(listener.get(), 1), 0);
      EXPECT_EQ(::getsockname(listener.get(), generic, &size), 0);
      EXPECT_EQ(::connect(ours.get(), generic, size), 0);
      theirs.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      EXPECT_TRUE(theirs);
      EXPECT_EQ(::fcntl(ours.get(), F_SETFL, O_NONBLOCK), 0);
    }
  };

  // Until `done`; between its calls as long as nothing arrives, but a moment only.
  template <typename Done>
  bool Until(const Sockets& sockets, const Done& done) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!done()) {
      if (std::chrono::steady_clock::now() > give_up) return false;
      std::array<pollfd, 2> both{{{.fd = sockets.ours.get(), .events = POLLIN, .revents = 0},
                                  {.fd = sockets.theirs.get(), .events = POLLIN, .revents = 0}}};
      ::poll(both.data(), both.size(), 1);
    }
    return true;
  }
  // Calls Read until it has a result.
  Stream::Result Read(const Sockets& sockets, Stream& stream, OpenSslPeer& peer,
                      std::span<char> into) {
    Stream::Result result;
    EXPECT_TRUE(Until(sockets, [&] {
      result = stream.Read(into);
      peer.Play();
      return result.status == Status::kDone || result.status == Status::kEnded ||
             result.status == Status::kFailed;
    }));
    return result;
  }
  bool Shake(const Sockets& sockets, Stream& stream, OpenSslPeer& peer) {
    return Until(sockets, [&] {
      const Stream::Result result = stream.Handshake();
      peer.Play();
      EXPECT_NE(result.status, Status::kFailed) << stream.why();
      return result.status == Status::kFailed ||
             (result.status == Status::kDone && peer.established());
    });
  }

  const bool has_kernel_ = WhyNoKernelRecords().empty();
};

INSTANTIATE_TEST_SUITE_P(, KernelStreamTest, testing::Values(Role::kClient, Role::kServer),
                         NameOfRole);

// In both directions at once, through buffers that are full most of the time; the socket is closed
// as soon as the end is said to be in it, long before the peer has read it.
TEST_P(KernelStreamTest, CarriesAllBytesToTheEnd) {
  struct Case {
    const char* cipher;
    int version;
    bool kernel;
  };
  const Case cases[] = {{"TLS_AES_128_GCM_SHA256", TLS1_3_VERSION, true},
                        {"TLS_AES_256_GCM_SHA384", TLS1_3_VERSION, true},
                        {"TLS_CHACHA20_POLY1305_SHA256", TLS1_3_VERSION, false},
                        {"", TLS1_2_VERSION, false}};
  const std::string ours = RandomBytes(300'000);
  const std::string theirs = RandomBytes(200'001);
  for (const auto& [cipher, version, kernel] : cases) {
    SCOPED_TRACE(cipher);
    Sockets sockets(4096);
    OpenSslPeer::Habits habits = Fitting();
    habits.cipher = cipher;
    habits.version = version;
    habits.fragment_bytes = 1000;
    habits.padding_bytes = 512;
    OpenSslPeer peer(sockets.theirs.get(), habits);
    peer.to_send = theirs;
    peer.ends = true;
    Stream stream(context_, sockets.ours.get(), Options());
    std::minstd_rand random(2);
    std::string got;
    std::size_t sent = 0;
    // What waits is offered again, with more behind it.
    std::size_t offered = 0;
    bool ended = false;
    bool said_end = false;
    bool waited = false;
    ASSERT_TRUE(Until(sockets, [&] {
      // In steps of this side that are larger than its buffers.
      Stream::Result result;
      while (sent < ours.size()) {
        offered = std::max<std::size_t>(offered, 1 + random() % 40'000);
        result = stream.Write(std::string_view(ours).substr(sent, offered));
        EXPECT_NE(result.status, Status::kFailed) << stream.why();
        if (result.status != Status::kDone) break;
        sent += result.bytes;
        offered = 0;
      }
      waited = waited || result.status == Status::kWaitsForRoom;
      std::array<char, 20'000> buffer;
      while (!ended) {
        result = stream.Read(std::span(buffer).first(1 + random() % buffer.size()));
        EXPECT_NE(result.status, Status::kFailed) << stream.why();
        if (result.status == Status::kDone) got.append(buffer.data(), result.bytes);
        ended = result.status == Status::kEnded;
        if (result.status != Status::kDone) break;
      }
      // At last the peer does not read any more.
      if (ended && sent == ours.size()) said_end = stream.Shutdown().status == Status::kDone;
      if (!said_end) peer.Play();
      return testing::Test::HasFailure() || said_end;
    }));
    EXPECT_EQ(stream.in_kernel(), kernel && has_kernel_);
    EXPECT_EQ(stream.version(), version == TLS1_3_VERSION ? "TLSv1.3" : "TLSv1.2");
    ASSERT_NE(stream.peer(), nullptr);
    ASSERT_TRUE(stream.peer_certificate());
    EXPECT_EQ(stream.peer_certificate()->sha256_hex.size(), 64U);
    EXPECT_TRUE(waited);
    EXPECT_EQ(stream.Unsent(), 0U);
    sockets.ours.reset();
    EXPECT_TRUE(Until(sockets, [&] {
      peer.Play();
      return peer.got_end || !peer.error.empty();
    }));
    EXPECT_EQ(peer.error, "");
    EXPECT_TRUE(got == theirs);
    EXPECT_TRUE(peer.received == ours) << peer.received.size() << " of " << ours.size();
  }
}

// With nothing more to read, and nobody who reads, until the end is said.
TEST_P(KernelStreamTest, SaysTheEndWhenItIsInTheSocket) {
  Sockets sockets(8192);
  OpenSslPeer peer(sockets.theirs.get(), Fitting());
  Stream stream(context_, sockets.ours.get(), Options());
  ASSERT_TRUE(Shake(sockets, stream, peer));
  const std::string piece = RandomBytes(50'000);
  std::string all;
  Stream::Result result;
  do {
    result = stream.Write(piece);
    if (result.status == Status::kDone) all.append(piece, 0, result.bytes);
  } while (result.status == Status::kDone);
  EXPECT_EQ(result.status, Status::kWaitsForRoom);
  ASSERT_TRUE(Until(sockets, [&] {
    peer.Play();
    result = stream.Write(piece);
    return result.status == Status::kDone;
  }));
  all.append(piece, 0, result.bytes);
  // What TCP has no room for is the kernel's own, or there is no room for the alert.
  ASSERT_TRUE(Until(sockets, [&] {
    const bool done = stream.Shutdown().status == Status::kDone;
    if (!done) peer.Play();
    return done;
  }));
  // What is unread when a socket is closed makes that a reset.
  std::array<char, 100> buffer;
  do {
    result = stream.Read(buffer);
  } while (result.status == Status::kAgain);
  EXPECT_EQ(result.status, Status::kWaitsForInput);
  sockets.ours.reset();
  EXPECT_TRUE(Until(sockets, [&] {
    peer.Play();
    return peer.got_end || !peer.error.empty();
  }));
  EXPECT_TRUE(peer.received == all) << peer.received.size() << " of " << all.size();
  EXPECT_TRUE(peer.got_end) << peer.error;
}

// All in the last bytes of the handshake: they are the first ones of the kernel, unless it is too
// late.
TEST_P(KernelStreamTest, TakesWhatCameWithTheHandshake) {
  for (const bool closes : {false, true}) {
    Sockets sockets;
    OpenSslPeer peer(sockets.theirs.get(), Fitting());
    peer.to_send = "early";
    peer.ends = true;
    Stream stream(context_, sockets.ours.get(), Options());
    std::array<char, 100> buffer;
    Stream::Result result;
    ASSERT_TRUE(Until(sockets, [&] {
      if (!peer.sent_end) peer.Play();
      if (peer.sent_end && closes) ::shutdown(sockets.theirs.get(), SHUT_WR);
      // When both are there.
      if (!peer.sent_end || GetParam() == Role::kClient) result = stream.Handshake();
      return peer.sent_end;
    }));
    // One by one.
    std::string got;
    while (result.status != Status::kEnded && result.status != Status::kFailed) {
      result = Read(sockets, stream, peer, std::span(buffer).first(1));
      got.append(buffer.data(), result.bytes);
    }
    EXPECT_EQ(result.status, Status::kEnded) << stream.why();
    EXPECT_EQ(got, "early");
    EXPECT_EQ(stream.Write(std::string("more")).status, Status::kDone);
    EXPECT_TRUE(Until(sockets, [&] {
      peer.got_end = false;
      char byte = 0;
      return SSL_peek(peer.ssl(), &byte, 1) == 1 && byte == 'm';
    }));
  }
}

TEST_P(KernelStreamTest, TakesAnEndWithoutCloseNotifyForACut) {
  Sockets sockets;
  OpenSslPeer peer(sockets.theirs.get(), Fitting());
  Stream stream(context_, sockets.ours.get(), Options());
  ASSERT_TRUE(Shake(sockets, stream, peer));
  peer.to_send = "half of ";
  std::array<char, 100> buffer;
  Stream::Result result = Read(sockets, stream, peer, buffer);
  EXPECT_EQ(std::string_view(buffer.data(), result.bytes), "half of ");
  ASSERT_EQ(::shutdown(sockets.theirs.get(), SHUT_WR), 0);
  for (int i = 0; i < 2; ++i) {
    result = Read(sockets, stream, peer, buffer);
    EXPECT_EQ(result.status, Status::kFailed);
    EXPECT_EQ(result.error, ECONNRESET);
  }
  EXPECT_THAT(stream.why(), HasSubstr("cut off"));
}

// In the middle of a record.
TEST_P(KernelStreamTest, TakesHalfARecordForACut) {
  Sockets sockets;
  OpenSslPeer peer(sockets.theirs.get(), Fitting());
  Stream stream(context_, sockets.ours.get(), Options());
  ASSERT_TRUE(Shake(sockets, stream, peer));
  const std::string half("\x17\x03\x03\x00\x40 half of it", 16);
  ASSERT_EQ(::send(sockets.theirs.get(), half.data(), half.size(), 0), ssize_t(half.size()));
  ASSERT_EQ(::shutdown(sockets.theirs.get(), SHUT_WR), 0);
  std::array<char, 100> buffer;
  EXPECT_EQ(Read(sockets, stream, peer, buffer).status, Status::kFailed);
}

TEST_P(KernelStreamTest, NoticesWhatIsNotThePeers) {
  Sockets sockets;
  OpenSslPeer peer(sockets.theirs.get(), Fitting());
  Stream stream(context_, sockets.ours.get(), Options());
  ASSERT_TRUE(Shake(sockets, stream, peer));
  std::string forged("\x17\x03\x03\x00\x20", 5);
  forged += std::string(32, 'x');
  ASSERT_EQ(::send(sockets.theirs.get(), forged.data(), forged.size(), 0), ssize_t(forged.size()));
  std::array<char, 100> buffer;
  const Stream::Result result = Read(sockets, stream, peer, buffer);
  EXPECT_EQ(result.status, Status::kFailed);
  EXPECT_EQ(result.error, EPROTO);
  EXPECT_THAT(stream.why(), HasSubstr("TLS: "));
  EXPECT_FALSE(stream.refused());
  EXPECT_TRUE(Until(sockets, [&] {
    peer.Play();
    return !peer.error.empty();
  }));
  EXPECT_THAT(peer.error, HasSubstr("bad record mac"));
}

TEST_P(KernelStreamTest, NoticesAReset) {
  Sockets sockets;
  OpenSslPeer peer(sockets.theirs.get(), Fitting());
  Stream stream(context_, sockets.ours.get(), Options());
  ASSERT_TRUE(Shake(sockets, stream, peer));
  const linger none{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(sockets.theirs.get(), SOL_SOCKET, SO_LINGER, &none, sizeof(none));
  sockets.theirs.reset();
  std::array<char, 100> buffer;
  Stream::Result result;
  ASSERT_TRUE(Until(sockets, [&] {
    result = stream.Read(buffer);
    return result.status == Status::kFailed;
  }));
  EXPECT_EQ(result.error, ECONNRESET);
  EXPECT_EQ(stream.Shutdown().status, Status::kFailed);
}

// Kernels before 6.14 cannot change keys, and none is used for that.
TEST_P(KernelStreamTest, APeerThatChangesItsKeysIsUnderstoodOrRefused) {
  Sockets sockets;
  OpenSslPeer peer(sockets.theirs.get(), Fitting());
  Stream stream(context_, sockets.ours.get(), Options());
  ASSERT_TRUE(Shake(sockets, stream, peer));
  ASSERT_EQ(SSL_key_update(peer.ssl(), SSL_KEY_UPDATE_REQUESTED), 1);
  peer.to_send = "with new keys";
  std::array<char, 100> buffer;
  const Stream::Result result = Read(sockets, stream, peer, buffer);
  if (!stream.in_kernel()) {
    EXPECT_EQ(std::string_view(buffer.data(), result.bytes), "with new keys") << stream.why();
    return;
  }
  EXPECT_EQ(result.status, Status::kFailed);
  EXPECT_EQ(result.error, EPROTO);
  EXPECT_THAT(stream.why(), HasSubstr("has changed its keys"));
}

class KernelClientTest : public KernelStreamTest {};
INSTANTIATE_TEST_SUITE_P(, KernelClientTest, testing::Values(Role::kClient), NameOfRole);

// Which is heard behind the own handshake only.
TEST_P(KernelClientTest, HearsThatItIsRefused) {
  Sockets sockets;
  OpenSslPeer::Habits habits = Fitting();
  habits.refuses = true;
  OpenSslPeer peer(sockets.theirs.get(), habits);
  Stream stream(context_, sockets.ours.get(), Options());
  std::array<char, 100> buffer;
  const Stream::Result result = Read(sockets, stream, peer, buffer);
  EXPECT_EQ(result.status, Status::kFailed);
  EXPECT_EQ(result.error, EPROTO);
  EXPECT_TRUE(stream.refused());
  EXPECT_THAT(stream.why(), HasSubstr("alert"));
}

}  // namespace
}  // namespace sluice::tls
