// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/accept/own_sockets.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "base/os/reset_on_close.h"
#include "base/unique_fd.h"
#include "proxy/accept/sockets.h"

namespace sluice::proxy {
namespace {

// A listener on loopback, and connections to it.
class OwnSocketsTest : public testing::Test {
 protected:
  OwnSocketsTest() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&any), sizeof(any)), 0);
    EXPECT_EQ(::listen(listener_.get(), 128), 0);
    remote_ = LocalAddress(listener_.get());
  }

  struct Connection {
    UniqueFd near;
    UniqueFd far;
    SocketAddress local;
  };
  Connection Connect() {
    Connection out;
    out.near.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(remote_.port);
    EXPECT_EQ(::connect(out.near.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
    out.far.reset(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    EXPECT_TRUE(out.far);
    out.local = LocalAddress(out.near.get());
    return out;
  }

  UniqueFd listener_;
  SocketAddress remote_;
  std::unique_ptr<OwnSockets> sockets_ = std::make_unique<OwnSockets>();
};

TEST_F(OwnSocketsTest, KnowsBothAddressesOfWhatWasAdded) {
  const Connection ours = Connect();
  const Connection other = Connect();
  const int fd = ours.near.get();
  EXPECT_EQ(sockets_->Passes(ours.local, remote_), 0U);
  sockets_->Add(fd, ours.local, remote_, 1);
  EXPECT_EQ(sockets_->Passes(ours.local, remote_), 1U);
  // An application's connection may share one of the two addresses.
  EXPECT_EQ(sockets_->Passes(ours.local, {remote_.ip, 1}), 0U);
  EXPECT_EQ(sockets_->Passes(other.local, remote_), 0U);
  EXPECT_EQ(sockets_->Passes(remote_, ours.local), 0U);
  sockets_->Remove(other.near.get(), ours.local, remote_);
  EXPECT_EQ(sockets_->Passes(ours.local, remote_), 1U) << "another one's";
  sockets_->Remove(fd, ours.local, remote_);
  EXPECT_EQ(sockets_->Passes(ours.local, remote_), 0U);
}

TEST_F(OwnSocketsTest, CountsPasses) {
  const Connection ours = Connect();
  for (unsigned passes = 1; passes <= OwnSockets::kLoop + 1; ++passes) {
    sockets_->Add(ours.near.get(), ours.local, remote_, passes);
    EXPECT_EQ(sockets_->Passes(ours.local, remote_), passes);
  }
  sockets_->Remove(ours.near.get(), ours.local, remote_);
  EXPECT_EQ(sockets_->Passes(ours.local, remote_), 0U);
}

// The kernel reuses the addresses of a reset connection for the next socket.
TEST_F(OwnSocketsTest, OneThatWasResetIsNobody) {
  Connection ours = Connect();
  sockets_->Add(ours.near.get(), ours.local, remote_, 1);
  ASSERT_EQ(sockets_->Passes(ours.local, remote_), 1U);
  ResetOnClose(ours.far.get());
  ours.far.reset();
  pollfd wait{.fd = ours.near.get(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&wait, 1, 60'000), 1);
  EXPECT_EQ(sockets_->Passes(ours.local, remote_), 0U);
}

TEST_F(OwnSocketsTest, OneThatWasClosedIsNobody) {
  Connection ours = Connect();
  sockets_->Add(ours.near.get(), ours.local, remote_, 1);
  ours.near.reset();
  EXPECT_EQ(sockets_->Passes(ours.local, remote_), 0U);
}

TEST_F(OwnSocketsTest, AFreePlaceIsNobody) { EXPECT_EQ(sockets_->Passes({}, {}), 0U); }

// More than fit: the latest are known, even if older ones are forgotten.
TEST_F(OwnSocketsTest, ForgetsAndNeverConfuses) {
  const Connection ours = Connect();
  for (std::uint16_t port = 1; port < 60'000; ++port) {
    sockets_->Add(ours.near.get(), {ours.local.ip, port}, {remote_.ip, 1}, 1);
    EXPECT_EQ(sockets_->Passes({ours.local.ip, port}, {remote_.ip, 1}), 0U) << "not its socket";
  }
  sockets_->Add(ours.near.get(), ours.local, remote_, 1);
  EXPECT_EQ(sockets_->Passes(ours.local, remote_), 1U);
}

}  // namespace
}  // namespace sluice::proxy
