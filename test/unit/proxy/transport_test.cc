// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/relay/transport.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/unique_fd.h"
#include "proxy/relay/layers.h"
#include "proxy/relay/relay.h"
#include "proxy/relay/stage.h"
#include "test/unit/proxy/frame_transport.h"
#include "test/unit/proxy/session_fixture.h"

namespace sluice::proxy {
namespace {

using Status = Transport::Status;
using testing::HasSubstr;
using Random = std::minstd_rand;

std::string RandomBytes(Random& random, std::size_t size) {
  std::string out(size, '\0');
  for (char& byte : out) byte = static_cast<char>(random());
  return out;
}

// Inserts a line before the stream, reverses each line, and lets bytes pass after it: the line's
// first digit in hundreds; after a line with '!' all the rest. Holds a line until it is complete.
// The stream must not begin with '-'.
class LineStage : public Stage {
 public:
  static constexpr std::string_view kGreeting = "a greeting\n";

  Answer Put(std::span<const char> bytes, std::string& out) override {
    if (!std::exchange(began_, true)) {
      if (bytes[0] == '-') {
        out += "half an answer";
        return {.error = EBADMSG};
      }
      out += kGreeting;
    }
    const auto end = std::ranges::find(bytes, '\n');
    line_.append(bytes.begin(), end);
    const auto size = static_cast<std::size_t>(end - bytes.begin());
    if (end == bytes.end()) return {.taken = size};
    out.append(line_.rbegin(), line_.rend()) += '\n';
    const char first = std::exchange(line_, {}).append(1, '0')[0];
    return {.taken = size + 1, .passes = Passes(first)};
  }
  int End(std::uint64_t, std::string& out) override {
    out.append(line_.rbegin(), line_.rend());
    return 0;
  }

  static std::uint64_t Passes(char first) {
    if (first == '!') return kTheRest;
    return first >= '0' && first <= '9' ? static_cast<std::uint64_t>(first - '0') * 100 : 0;
  }
  // The expected result for a whole stream.
  static std::string Of(std::string_view in) {
    std::string out;
    if (!in.empty()) out = kGreeting;
    while (!in.empty()) {
      const std::size_t size = std::min(in.find('\n'), in.size());
      const std::string_view line = in.substr(0, size);
      out.append(line.rbegin(), line.rend());
      in.remove_prefix(size);
      if (in.empty()) break;
      out += '\n';
      in.remove_prefix(1);
      const std::string_view rest = in.substr(0, line.empty() ? 0 : Passes(line[0]));
      out += rest;
      in.remove_prefix(rest.size());
    }
    return out;
  }
  static std::string Sample(Random& random) {
    std::string out;
    for (std::size_t lines = random() % 20; lines > 0; --lines) {
      const std::size_t hundreds = random() % 10;
      out += static_cast<char>('0' + hundreds);
      out.append(random() % 300, 'x');
      out += "yz\n";
      if (lines > 1) out += RandomBytes(random, hundreds * 100);
    }
    if (random() % 2 == 0) out += "!\n" + RandomBytes(random, random() % 20'000);
    return out;
  }

 private:
  bool began_ = false;
  std::string line_;
};

// The peer of one of the relay's sockets: it sends and receives a little at a time.
class Peer {
 public:
  // `framed`: speaks through a FrameTransport.
  void Begin(int fd, bool framed, FrameTransport::Habits habits) {
    fd_ = fd;
    if (framed) transport_ = std::make_unique<FrameTransport>(fd, habits);
  }

  // False if it could do nothing.
  bool Play() {
    const std::size_t before = got.size() + to_send.size();
    const auto ends = std::pair(got_end, sent_end);
    Receive();
    Send();
    return before != got.size() + to_send.size() || ends != std::pair(got_end, sent_end);
  }

  std::string to_send;
  bool listens_first = false;  // says nothing before it has received something
  std::string got;
  bool got_end = false;
  bool sent_end = false;
  int error = 0;

 private:
  void Receive() {
    if (got_end || error != 0) return;
    char buffer[1000];
    if (transport_) {
      const Transport::Result result = transport_->Read(buffer);
      got.append(buffer, result.bytes);
      got_end = result.status == Status::kEnded;
      if (result.status == Status::kFailed) error = result.error;
      return;
    }
    const ssize_t size = ::recv(fd_, buffer, sizeof(buffer), MSG_DONTWAIT);
    if (size > 0) got.append(buffer, static_cast<std::size_t>(size));
    got_end = size == 0;
    if (size < 0 && errno != EAGAIN) error = errno;
  }
  void Send() {
    if (sent_end || error != 0 || (listens_first && got.empty())) return;
    if (transport_) {
      if (to_send.empty()) {
        sent_end = transport_->Shutdown().status == Status::kDone;
      } else if (const auto result = transport_->Write(to_send); result.bytes > 0) {
        to_send.erase(0, result.bytes);
      }
    } else if (to_send.empty()) {
      sent_end = ::shutdown(fd_, SHUT_WR) == 0;
    } else {
      const int flags = MSG_NOSIGNAL | MSG_DONTWAIT;
      const ssize_t size = ::send(fd_, to_send.data(), to_send.size(), flags);
      if (size > 0) to_send.erase(0, static_cast<std::size_t>(size));
    }
  }

  int fd_ = -1;
  std::unique_ptr<FrameTransport> transport_;
};

// A socket of the relay with its endpoint, and its peer.
struct Link {
  UniqueFd ours;
  UniqueFd theirs;
  Endpoint endpoint;
  Peer peer;

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

constexpr std::pair<bool, bool> kFramed[] = {
    {false, false}, {true, false}, {false, true}, {true, true}};

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

// Returns what the test says.
class Scripted : public Transport {
 public:
  Result Read(std::span<char> into) override {
    std::fill_n(into.begin(), read.bytes, 'r');
    return std::exchange(read, {.status = Status::kWaitsForInput});
  }
  Result Write(std::span<const char>) override {
    if (write.took_input) read.bytes = read_after_input;
    if (read.bytes > 0) read.status = Status::kDone;
    return write;
  }
  Result Shutdown() override { return {}; }

  std::size_t read_after_input = 0;  // what can be read after a Write has taken input
  Result read{.status = Status::kWaitsForInput};
  Result write{.status = Status::kWaitsForInput};
};

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

// A session between peers, one or both of them framed.
class LayeredSessionTest : public SessionTest {
 protected:
  void Open(bool client_framed, bool server_framed, FrameTransport::Habits habits) {
    SessionTest::Open();
    auto layers = std::make_unique<Layers>();
    habits.opens = false;
    if (client_framed) {
      layers->client = std::make_unique<FrameTransport>(session_.client_fd(), habits);
    }
    server_peer_.Begin(server_.get(), server_framed, habits);
    habits.opens = true;
    habits.seed += 1;
    if (server_framed) {
      layers->server = std::make_unique<FrameTransport>(session_.server_fd(), habits);
    }
    client_peer_.Begin(client_.get(), client_framed, habits);
    layers_ = layers.get();
    session_.Use(std::move(layers));
  }
  // Until both peers know how it ended. The kernel's TCP takes its time, so only a long silence is
  // a stall.
  void Play() {
    const auto over = [](const Peer& peer) { return peer.got_end || peer.error != 0; };
    for (int silent = 0; !(over(client_peer_) && over(server_peer_)); ++silent) {
      ASSERT_LT(silent, 6000) << "stalls: the client has " << client_peer_.got.size()
                              << " bytes, the server " << server_peer_.got.size();
      Turn(silent > 10 ? 10 : 0);
      const bool client_played = client_peer_.Play();
      const bool server_played = server_peer_.Play();
      if (client_played || server_played) silent = 0;
    }
    for (int i = 0; i < 6000 && session_.open(); ++i) Turn();
    EXPECT_FALSE(session_.open());
  }

  Peer client_peer_;
  Peer server_peer_;
  Layers* layers_ = nullptr;
};

TEST_F(LayeredSessionTest, CarriesBothDirectionsToTheirEnds) {
  Random random(7);
  for (unsigned seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    client_peer_ = Peer();
    server_peer_ = Peer();
    session_.~Session();
    new (&session_) Session();
    worker_.log_lines.clear();
    const auto [client_framed, server_framed] = kFramed[seed % 4];
    Open(client_framed, server_framed, {.seed = seed, .credits = static_cast<int>(seed)});
    const std::string request = RandomBytes(random, random() % 50'000 * (seed % 3));
    const std::string response = RandomBytes(random, random() % 50'000 * (seed % 5));
    client_peer_.to_send = request;
    server_peer_.to_send = response;
    Play();
    ASSERT_FALSE(HasFailure());
    EXPECT_TRUE(server_peer_.got == request) << server_peer_.got.size();
    EXPECT_TRUE(client_peer_.got == response) << client_peer_.got.size();
    EXPECT_TRUE(client_peer_.got_end);
    EXPECT_TRUE(server_peer_.got_end);
    EXPECT_THAT(worker_.log_lines, HasSubstr("\"connection_termination_details\":\"-\""));
  }
}

// The hello is sent to the server although no application has spoken.
TEST_F(LayeredSessionTest, AServerMaySpeakFirst) {
  Open(true, true, {});
  server_peer_.to_send = "220 ready";
  client_peer_.listens_first = true;
  client_peer_.to_send = "EHLO";
  Play();
  EXPECT_EQ(client_peer_.got, "220 ready");
  EXPECT_EQ(server_peer_.got, "EHLO");
}

TEST_F(LayeredSessionTest, AClientThatHasEndedStillGetsItsAnswer) {
  Open(true, false, {});
  client_peer_.to_send = "?";
  server_peer_.listens_first = true;
  server_peer_.to_send = std::string(300'000, 'a');
  Play();
  EXPECT_EQ(server_peer_.got, "?");
  EXPECT_EQ(client_peer_.got.size(), 300'000U);
}

// One event, and then none: the transport has everything inside. The worker's queue brings the
// session back, and others get their turn in between.
TEST_F(LayeredSessionTest, InputInsideATransportNeedsNoEventAndWaitsForItsTurn) {
  constexpr std::size_t kFrames = 3000;
  Open(true, false, {.credits = kFrames, .frame_bytes = 1, .moody = false});
  client_peer_.to_send = std::string(kFrames, 'x');
  for (int i = 0; i < 6000 && client_peer_.to_send.size() > 0; ++i) {
    client_peer_.Play();
    if (client_peer_.to_send.size() == kFrames) {
      Dispatch(1);
      ServeReady(worker_);
    }
  }
  ASSERT_TRUE(client_peer_.to_send.empty());
  // Everything has arrived once the transport has read it.
  for (int i = 0; i < 6000 && worker_.ready.empty(); ++i) Dispatch(10);
  ASSERT_EQ(worker_.ready.size(), 1U);
  EXPECT_LT(session_.Info(worker_).bytes_received, kFrames);
  for (int turns = 0; turns < 6000 && session_.Info(worker_).bytes_received < kFrames; ++turns) {
    if (worker_.ready.empty()) {
      Dispatch(10);
    }
    const std::uint64_t before = session_.Info(worker_).bytes_received;
    ServeReady(worker_);
    EXPECT_LE(session_.Info(worker_).bytes_received - before, 256U) << "a share per turn";
  }
  EXPECT_EQ(session_.Info(worker_).bytes_received, kFrames);
}

TEST_F(LayeredSessionTest, InputThatAWriteTakesNeedsNoEvent) {
  SessionTest::Open();
  auto layers = std::make_unique<Layers>();
  auto transport = std::make_unique<Scripted>();
  transport->write = {.took_input = true, .bytes = 6};
  transport->read_after_input = 5;
  layers->client = std::move(transport);
  session_.Use(std::move(layers));
  SendAll(server_, "answer");
  for (int i = 0; i < 6000 && worker_.ready.empty(); ++i) Dispatch(10);
  ASSERT_EQ(worker_.ready.size(), 1U);
  EXPECT_EQ(session_.Info(worker_).bytes_received, 0U);
  ServeReady(worker_);
  EXPECT_EQ(session_.Info(worker_).bytes_received, 5U);
  EXPECT_TRUE(worker_.ready.empty());
}

TEST_F(LayeredSessionTest, AStreamThatBreaksOffIsAResetToTheOtherSide) {
  Open(true, false, {});
  client_peer_.to_send = "before";
  client_peer_.sent_end = false;
  for (int i = 0; i < 6000 && server_peer_.got != "before"; ++i) {
    if (!client_peer_.to_send.empty()) client_peer_.Play();
    Turn(1);
    server_peer_.sent_end = true;
    server_peer_.Play();
  }
  ASSERT_EQ(server_peer_.got, "before");
  SendAll(client_, "D\x40half");
  ASSERT_EQ(::shutdown(client_.get(), SHUT_WR), 0);
  for (int i = 0; i < 6000 && server_peer_.error == 0; ++i) {
    Turn(1);
    server_peer_.Play();
  }
  EXPECT_EQ(server_peer_.error, ECONNRESET);
  EXPECT_FALSE(server_peer_.got_end);
  EXPECT_THAT(worker_.log_lines, HasSubstr("downstream_reset"));
}

TEST_F(LayeredSessionTest, WhatCameBeforeAResetIsDeliveredAndThenIsNoEnd) {
  Open(true, false, {});
  Turn();
  SendAll(server_, std::string(100'000, 'a'));
  while (UnconfirmedBytes(server_.get()) > 0) {
    Turn();
    client_peer_.sent_end = true;
    client_peer_.Play();
  }
  Reset(std::move(server_));
  for (int i = 0; i < 60'000 && client_peer_.error == 0; ++i) {
    if (i % 64 == 0) ++worker_.now_ticks;
    Turn(client_peer_.Play() ? 0 : 1);
  }
  EXPECT_EQ(client_peer_.got.size(), 100'000U);
  EXPECT_FALSE(client_peer_.got_end);
  EXPECT_EQ(client_peer_.error, ECONNRESET);
  EXPECT_THAT(worker_.log_lines, HasSubstr("upstream_reset"));
}

TEST_F(LayeredSessionTest, TwoPlainEndsAreSplicedWhenTheStageIsOver) {
  SessionTest::Open();
  // Whether a transfer counts as bulk depends on how fast its ends are.
  relay_->splicing = Splicing::kOn;
  auto layers = std::make_unique<Layers>();
  layers->response.stage = std::make_unique<LineStage>();
  session_.Use(std::move(layers));
  client_peer_.Begin(client_.get(), false, {});
  server_peer_.Begin(server_.get(), false, {});
  Random random(3);
  const std::string body = RandomBytes(random, 8 << 20);
  server_peer_.to_send = "0head\n!\n" + body;
  Play();
  EXPECT_TRUE(client_peer_.got == "a greeting\ndaeh0\n!\n" + body) << client_peer_.got.size();
  EXPECT_GT(relay_->pipes.idle(), 0);
}

// Records when it is deleted.
class LastWords : public Transport {
 public:
  LastWords(int fd, bool& fd_was_open) : fd_(fd), fd_was_open_(fd_was_open) {}
  ~LastWords() override { fd_was_open_ = ::fcntl(fd_, F_GETFD) >= 0; }
  Result Read(std::span<char>) override { return {.status = Status::kFailed, .error = EIO}; }
  Result Write(std::span<const char>) override { return {.status = Status::kFailed, .error = EIO}; }
  Result Shutdown() override { return {}; }

 private:
  const int fd_;
  bool& fd_was_open_;
};

TEST_F(LayeredSessionTest, TransportsAreDeletedBeforeTheirSocketsAreClosed) {
  SessionTest::Open();
  bool fd_was_open = false;
  auto layers = std::make_unique<Layers>();
  layers->client = std::make_unique<LastWords>(session_.client_fd(), fd_was_open);
  session_.Use(std::move(layers));
  session_.Abort(worker_, Failure::kDrainTimeout);
  EXPECT_TRUE(fd_was_open);
}

}  // namespace
}  // namespace sluice::proxy
