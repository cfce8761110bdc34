// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/relay/transport.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/unique_fd.h"
#include "proxy/relay/layers.h"
#include "proxy/relay/relay.h"
#include "proxy/relay/stage.h"
#include "test/unit/proxy/frame_transport.h"
#include "test/unit/proxy/relay_layers.h"

namespace sluice::proxy {
namespace {

using Status = Transport::Status;

// A socket of the relay with its endpoint, and its peer.
struct Link {
  UniqueFd ours;
  UniqueFd theirs;
  Endpoint endpoint;
  RelayPeer peer;

  Link() {
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    ours.reset(fds[0]);
    theirs.reset(fds[1]);
    // So small that they are always full.
    const int small = 1;
    for (const int fd : fds) ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    endpoint = {.fd = fds[0], .readable = true, .writable = true};
  }
};

// Two links and the flows between them, driven only by edge-triggered events. A seed determines the
// choices.
class Relayed {
 public:
  Relayed(unsigned seed, bool client_framed, bool server_framed) : random_(seed) {
    const auto begin = [&](Link& link, bool framed, bool we_open) {
      FrameTransport::Habits habits{.credits = 1 + static_cast<int>(random_() % 50)};
      habits.seed = static_cast<unsigned>(random_());
      habits.opens = we_open;
      habits.meanwhile = [this] { (random_() % 2 == 0 ? client : server).peer.Play(); };
      auto ours = std::make_unique<FrameTransport>(link.ours.get(), habits);
      habits.seed = static_cast<unsigned>(random_());
      habits.opens = !we_open;
      habits.meanwhile = nullptr;
      link.peer.Begin(link.theirs.get(), framed, habits);
      return framed ? std::move(ours) : nullptr;
    };
    layers_.client = begin(client, client_framed, false);
    layers_.server = begin(server, server_framed, true);
    for (Link* link : {&client, &server}) {
      epoll_event event{};
      event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
      event.data.ptr = link;
      EXPECT_EQ(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, link->ours.get(), &event), 0);
    }
  }
  ~Relayed() {
    request.Drop(*resources);
    response.Drop(*resources);
  }

  // Until both peers have received the end, or a flow fails.
  void Play() {
    int idle = 0;
    while (!failed && !(client.peer.got_end && server.peer.got_end)) {
      bool moved = false;
      switch (random_() % 3) {
        case 0:
          moved = client.peer.Play();
          break;
        case 1:
          moved = server.peer.Play();
          break;
        default:
          moved = Turn();
          break;
      }
      idle = moved ? 0 : idle + 1;
      ASSERT_LT(idle, 1000) << "stalls: the client has " << client.peer.got.size() << " bytes, the"
                            << " server " << server.peer.got.size();
    }
  }

  Layers& layers() { return layers_; }
  const FrameTransport::Seen* seen(bool of_client) const {
    const auto& transport = of_client ? layers_.client : layers_.server;
    return transport ? &static_cast<const FrameTransport&>(*transport).seen : nullptr;
  }

  Link client;
  Link server;
  Flow request;
  Flow response;
  bool failed = false;
  std::unique_ptr<RelayResources> resources = std::make_unique<RelayResources>();

 private:
  // As in Session and Worker. Returns whether bytes were moved.
  bool Turn() {
    std::array<epoll_event, 4> events;
    const int count = ::epoll_wait(epoll_.get(), events.data(), 4, 0);
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      Endpoint& endpoint = static_cast<Link*>(event.data.ptr)->endpoint;
      if ((event.events & (EPOLLRDHUP | EPOLLHUP)) != 0) endpoint.hangup = true;
      if (endpoint.hangup || (event.events & EPOLLIN) != 0) endpoint.readable = true;
      if ((event.events & (EPOLLOUT | EPOLLHUP)) != 0) endpoint.writable = true;
      WakeCrosswise(endpoint);
    }
    if (count == 0 && !queued_) return false;
    queued_ = false;
    const std::uint64_t before = Bytes();
    Run(request, client, server, layers_.RequestHops());
    Run(response, server, client, layers_.ResponseHops());
    queued_ |= request.CanRun(client.endpoint, server.endpoint, layers_.request) ||
               response.CanRun(server.endpoint, client.endpoint, layers_.response);
    return Bytes() != before;
  }
  void Run(Flow& flow, Link& from, Link& to, const Hops& hops) {
    if (flow.finished() || failed) return;
    const Progress progress = hops.plain()
                                  ? flow.Run(from.endpoint, to.endpoint, *resources)
                                  : flow.RunLayered(from.endpoint, to.endpoint, hops, *resources);
    if (progress == Progress::kAgain) queued_ = true;
    if (progress == Progress::kFailed) failed = true;
    if (progress == Progress::kFinished && hops.to == nullptr) {
      ::shutdown(to.ours.get(), SHUT_WR);
    }
  }
  std::uint64_t Bytes() const {
    return request.bytes_read() + request.bytes_written() + response.bytes_read() +
           response.bytes_written();
  }

  Random random_;
  UniqueFd epoll_{::epoll_create1(EPOLL_CLOEXEC)};
  Layers layers_;
  bool queued_ = true;
};

TEST(Transports, CarryBothDirectionsThoughEachWaitsForTheOther) {
  FrameTransport::Seen all;
  for (unsigned seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    const auto [client_framed, server_framed] = kFramed[seed % 4];
    Relayed relayed(seed, client_framed, server_framed);
    Random random(seed);
    const std::string request = RandomBytes(random, random() % 30'000 * (random() % 4));
    const std::string response = RandomBytes(random, random() % 30'000 * (random() % 4));
    relayed.client.peer.to_send = request;
    relayed.server.peer.to_send = response;
    relayed.Play();
    ASSERT_FALSE(testing::Test::HasFailure());
    ASSERT_FALSE(relayed.failed) << relayed.request.error() << ' ' << relayed.response.error();
    ASSERT_TRUE(relayed.server.peer.got == request) << relayed.server.peer.got.size();
    ASSERT_TRUE(relayed.client.peer.got == response) << relayed.client.peer.got.size();
    ASSERT_EQ(relayed.request.bytes_written(), request.size());
    ASSERT_EQ(relayed.response.bytes_read(), response.size());
    for (const bool of_client : {true, false}) {
      const FrameTransport::Seen* const seen = relayed.seen(of_client);
      if (seen == nullptr) continue;
      all.read_waited_for_room += seen->read_waited_for_room;
      all.write_waited_for_input += seen->write_waited_for_input;
      all.write_waited_for_room += seen->write_waited_for_room;
      all.write_took_others_input += seen->write_took_others_input;
      all.gave_up += seen->gave_up;
    }
  }
  EXPECT_GT(all.read_waited_for_room, 0);
  EXPECT_GT(all.write_waited_for_input, 0);
  EXPECT_GT(all.write_waited_for_room, 0);
  EXPECT_GT(all.write_took_others_input, 0);
  EXPECT_GT(all.gave_up, 0);
}

// The rules that ensure that no edge is missed, one by one.
class ReadinessTest : public testing::Test {
 protected:
  ReadinessTest() { link_.endpoint.writable = plain_.endpoint.writable = true; }
  ~ReadinessTest() override {
    in_.Drop(*resources_);
    out_.Drop(*resources_);
  }
  Progress ReadFromTransport() {
    return in_.RunLayered(link_.endpoint, plain_.endpoint, {.from = &transport_, .stage = slot_},
                          *resources_);
  }
  Progress WriteToTransport() {
    EXPECT_EQ(::send(plain_.theirs.get(), "w", 1, 0), 1);
    plain_.endpoint.readable = true;
    return out_.RunLayered(plain_.endpoint, link_.endpoint, {.to = &transport_, .stage = slot_},
                           *resources_);
  }
  bool MayRead() { return in_.CanRun(link_.endpoint, plain_.endpoint, slot_); }
  bool MayWrite() { return out_.CanRun(plain_.endpoint, link_.endpoint, slot_); }

  std::unique_ptr<RelayResources> resources_ = std::make_unique<RelayResources>();
  Scripted transport_;
  StageSlot slot_;
  Link link_;
  Link plain_;
  Flow in_;
  Flow out_;
};

TEST_F(ReadinessTest, InputThatAWriteTakesIsReadWithoutAnEvent) {
  EXPECT_EQ(ReadFromTransport(), Progress::kWaiting);
  EXPECT_FALSE(MayRead());
  transport_.write = {.took_input = true, .bytes = 1};
  WriteToTransport();
  EXPECT_TRUE(MayRead());
  transport_.read = {.bytes = 5};
  ReadFromTransport();
  EXPECT_EQ(in_.bytes_written(), 5U);
  EXPECT_FALSE(MayRead());
}

TEST_F(ReadinessTest, AWriteGoesOnWhenAReadHasTakenWhatItWaitsFor) {
  EXPECT_EQ(WriteToTransport(), Progress::kWaiting);
  EXPECT_FALSE(MayWrite());
  EXPECT_EQ(ReadFromTransport(), Progress::kWaiting);
  EXPECT_FALSE(MayWrite());
  transport_.read = {.status = Status::kWaitsForInput, .took_input = true};
  link_.endpoint.readable = true;
  EXPECT_EQ(ReadFromTransport(), Progress::kWaiting);
  EXPECT_TRUE(MayWrite());
  transport_.write = {.bytes = 1};
  EXPECT_EQ(WriteToTransport(), Progress::kWaiting);
  EXPECT_EQ(out_.bytes_written(), 2U);
}

TEST_F(ReadinessTest, AnEventWakesWhatWaitsForItsDirection) {
  EXPECT_EQ(WriteToTransport(), Progress::kWaiting);
  EXPECT_EQ(ReadFromTransport(), Progress::kWaiting);
  WakeCrosswise(link_.endpoint);
  EXPECT_FALSE(MayWrite());
  link_.endpoint.readable = true;
  WakeCrosswise(link_.endpoint);
  EXPECT_TRUE(MayWrite()) << "input";

  transport_.read = {.status = Status::kWaitsForRoom};
  transport_.write = {.status = Status::kWaitsForRoom};
  EXPECT_EQ(ReadFromTransport(), Progress::kWaiting);
  EXPECT_EQ(WriteToTransport(), Progress::kWaiting);
  WakeCrosswise(link_.endpoint);
  EXPECT_FALSE(MayRead());
  link_.endpoint.writable = true;
  WakeCrosswise(link_.endpoint);
  EXPECT_TRUE(MayRead()) << "room";
}

TEST_F(ReadinessTest, WhoWaitsForNothingComesBackAfterTheOthers) {
  transport_.write = {.status = Status::kAgain};
  EXPECT_EQ(WriteToTransport(), Progress::kAgain);
  EXPECT_TRUE(MayWrite());
}

TEST(Transports, AStreamThatBreaksOffIsNoEnd) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    Relayed relayed(seed, true, seed % 2 == 0);
    FrameTransport peer(relayed.client.theirs.get(), {.opens = true, .moody = false});
    // The hello and one complete frame.
    while (peer.Write(std::string_view("whole")).bytes == 0) {
      char none[1];
      relayed.layers().client->Read(none);
    }
    peer.SendHalfAFrame();
    ASSERT_EQ(::shutdown(relayed.client.theirs.get(), SHUT_WR), 0);
    // The client's own peer plays no part.
    relayed.client.peer.sent_end = relayed.client.peer.got_end = true;
    relayed.server.peer.sent_end = true;
    relayed.Play();
    ASSERT_FALSE(testing::Test::HasFailure());
    EXPECT_TRUE(relayed.failed);
    EXPECT_EQ(relayed.request.error(), ECONNRESET);
    EXPECT_TRUE(relayed.request.error_at_source());
    EXPECT_EQ(relayed.request.bytes_written(), 5U);
  }
}

TEST(Stages, HoldReplaceAndInsertBytesAndLetOthersPass) {
  for (unsigned seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    const auto [client_framed, server_framed] = kFramed[seed % 4];
    Relayed relayed(seed, client_framed, server_framed);
    Random random(seed);
    const std::string request = LineStage::Sample(random);
    const std::string response = LineStage::Sample(random);
    relayed.client.peer.to_send = request;
    relayed.server.peer.to_send = response;
    relayed.layers().request.stage = std::make_unique<LineStage>();
    if (seed % 3 == 0) relayed.layers().response.stage = std::make_unique<LineStage>();
    relayed.Play();
    ASSERT_FALSE(testing::Test::HasFailure());
    ASSERT_FALSE(relayed.failed);
    ASSERT_TRUE(relayed.server.peer.got == LineStage::Of(request))
        << relayed.server.peer.got.size();
    ASSERT_TRUE(relayed.client.peer.got == (seed % 3 == 0 ? LineStage::Of(response) : response));
    EXPECT_EQ(relayed.request.bytes_read(), request.size());
    EXPECT_EQ(relayed.request.bytes_written(), relayed.server.peer.got.size());
  }
}

TEST(Stages, ThatRefuseAStreamSendNothingOfIt) {
  for (const auto& [client_framed, server_framed] : kFramed) {
    Relayed relayed(1, client_framed, server_framed);
    relayed.layers().request.stage = std::make_unique<LineStage>();
    relayed.client.peer.to_send = "-\n";
    relayed.server.peer.sent_end = true;
    relayed.Play();
    EXPECT_TRUE(relayed.failed);
    EXPECT_EQ(relayed.request.error(), EBADMSG);
    EXPECT_TRUE(relayed.request.error_at_source());
    EXPECT_EQ(relayed.request.bytes_written(), 0U);
  }
}

// A prefix from the proxy comes before what a stage sees, and a framed transport protects it like
// the rest.
TEST(Stages, DoNotSeeAPrefix) {
  Relayed relayed(1, false, true);
  ASSERT_TRUE(relayed.request.Prepend("-PROXY\n", 7, *relayed.resources));
  relayed.layers().request.stage = std::make_unique<LineStage>();
  relayed.client.peer.to_send = "abc\n";
  relayed.Play();
  EXPECT_EQ(relayed.server.peer.got, "-PROXY\na greeting\ncba\n");
}

}  // namespace
}  // namespace sluice::proxy
