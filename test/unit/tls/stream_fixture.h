// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <sys/socket.h>

#include <memory>
#include <random>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "base/unique_fd.h"
#include "test/unit/tls/openssl_peer.h"
#include "tls/stream/stream.h"

namespace sluice::tls {

// The same bytes each time.
inline std::string RandomBytes(std::size_t size) {
  std::minstd_rand random(1);
  std::string out(size, '\0');
  for (char& byte : out) byte = static_cast<char>(random());
  return out;
}

inline std::string NameOfRole(const testing::TestParamInfo<Stream::Role>& info) {
  return info.param == Stream::Role::kClient ? "client" : "server";
}

// A stream in either role, and OpenSSL at the other end; both have certificates of one root.
class StreamFixture : public testing::TestWithParam<Stream::Role> {
 protected:
  explicit StreamFixture(Records records)
      : context_(MakeContext(own_identity_, root_.Pem(), records)) {}

  // The peer's habits for the role opposite to ours.
  OpenSslPeer::Habits Fitting() const {
    return {.server = GetParam() == Stream::Role::kClient, .identity = &peer_identity_};
  }
  Stream::Options Options(Stream::Allowed allowed = nullptr) const {
    return {.role = GetParam(), .allowed = std::move(allowed), .server_name = {}};
  }

  const TestIdentity root_ = Issue(TestCa("root"));
  const TestIdentity peer_identity_ = Issue({}, &root_);
  const TestIdentity own_identity_ =
      Issue({.names = "URI:spiffe://cluster.local/ns/shop/sa/own"}, &root_);
  const std::shared_ptr<const Context> context_;
};

// Two connected sockets that do not block.
struct SocketPair {
  UniqueFd ours;
  UniqueFd theirs;

  SocketPair() {
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    ours.reset(fds[0]);
    theirs.reset(fds[1]);
  }
};

// Records by OpenSSL, over a pair of sockets in one thread.
class StreamTest : public StreamFixture {
 protected:
  StreamTest() : StreamFixture(Records::kLibrary) {}

  // Runs both until `done`, or until nothing happens any more.
  template <typename Done>
  static bool Until(const Done& done) {
    for (int i = 0; i < 100'000; ++i) {
      if (done()) return true;
    }
    return false;
  }
  // Runs our side until the handshake ends; returns its result.
  static Stream::Result Shake(Stream& stream, OpenSslPeer& peer) {
    Stream::Result result;
    Until([&] {
      result = stream.Handshake();
      peer.Play();
      return result.status == Stream::Status::kDone || result.status == Stream::Status::kFailed;
    });
    for (int i = 0; i < 3; ++i) peer.Play();
    return result;
  }

  SocketPair sockets_;
};

}  // namespace sluice::tls
