// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/relay/relay.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/unique_fd.h"
#include "proxy/accept/sockets.h"

namespace sluice::proxy {
namespace {

// A socket of the relay and its other end, where the test is the peer.
struct SocketPair {
  UniqueFd ours;
  UniqueFd peer;
  Endpoint endpoint;

  explicit SocketPair(int type = SOCK_STREAM) {
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    ours.reset(fds[0]);
    peer.reset(fds[1]);
    endpoint = {.fd = fds[0], .readable = true, .writable = true};
  }

  void Send(std::string_view text) {
    EXPECT_EQ(::send(peer.get(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
    endpoint.readable = true;
  }
  // All that the peer has received so far.
  std::string Receive() {
    std::string out;
    char buffer[65536];
    for (ssize_t got = 0; (got = ::recv(peer.get(), buffer, sizeof(buffer), 0)) > 0;) {
      out.append(buffer, static_cast<std::size_t>(got));
    }
    endpoint.writable = true;
    return out;
  }
  void End() {
    ::shutdown(peer.get(), SHUT_WR);
    endpoint.readable = endpoint.hangup = true;
  }
};

class FlowTest : public testing::Test {
 protected:
  Progress Run() { return flow_.Run(from_.endpoint, to_.endpoint, *resources_); }
  ~FlowTest() override { flow_.Drop(*resources_); }

  std::unique_ptr<RelayResources> resources_ = std::make_unique<RelayResources>();
  SocketPair from_;
  SocketPair to_;
  Flow flow_;
};

TEST_F(FlowTest, MovesBytesAndKnowsThatTheSourceIsDrained) {
  from_.Send("hello");
  EXPECT_EQ(Run(), Progress::kWaiting);
  EXPECT_EQ(to_.Receive(), "hello");
  EXPECT_FALSE(from_.endpoint.readable);
  EXPECT_EQ(flow_.bytes_read(), 5U);
  EXPECT_EQ(flow_.bytes_written(), 5U);
}

TEST_F(FlowTest, FinishesAfterTheLastByte) {
  from_.Send("last");
  from_.End();
  EXPECT_EQ(Run(), Progress::kFinished);
  EXPECT_TRUE(flow_.finished());
  EXPECT_EQ(to_.Receive(), "last");
}

TEST_F(FlowTest, ReadsNothingWhileTheReceiverIsFullAndLosesNothing) {
  std::string sent;
  std::string got;
  char next = 'a';
  // The peer sends as long as bytes are accepted; nobody reads at the other end.
  for (int i = 0; i < 10'000; ++i) {
    const std::string chunk(4096, next);
    const ssize_t n = ::send(from_.peer.get(), chunk.data(), chunk.size(), 0);
    if (n > 0) {
      sent += chunk.substr(0, static_cast<std::size_t>(n));
      next = next == 'z' ? 'a' : static_cast<char>(next + 1);
    }
    from_.endpoint.readable = true;
    const Progress progress = Run();
    ASSERT_NE(progress, Progress::kFailed);
    if (n < 0 && progress == Progress::kWaiting) break;
  }
  EXPECT_FALSE(to_.endpoint.writable);
  EXPECT_LE(flow_.bytes_read() - flow_.bytes_written(), std::uint64_t{256 * 1024})
      << "no more than one buffer or one pipe is held";
  from_.End();
  for (int i = 0; i < 10'000 && !flow_.finished(); ++i) {
    got += to_.Receive();
    from_.endpoint.readable = true;
    ASSERT_NE(Run(), Progress::kFailed);
  }
  got += to_.Receive();
  EXPECT_TRUE(flow_.finished());
  EXPECT_TRUE(got == sent) << got.size() << " of " << sent.size() << " bytes";
}

TEST_F(FlowTest, GivesTheOthersTheirTurn) {
  // One recv(2) returns one message, so that the number of steps is known.
  SocketPair messages(SOCK_SEQPACKET);
  constexpr int kMessages = 40;
  for (int i = 0; i < kMessages; ++i) messages.Send("message!");
  messages.endpoint.hangup = true;  // then a short read has no meaning
  const auto run = [&] { return flow_.Run(messages.endpoint, to_.endpoint, *resources_); };
  EXPECT_EQ(run(), Progress::kAgain);
  EXPECT_LT(flow_.bytes_read(), std::uint64_t{8 * kMessages});
  int turns = 1;
  while (run() == Progress::kAgain && turns < kMessages) ++turns;
  EXPECT_EQ(to_.Receive().size(), std::size_t{8 * kMessages});
  EXPECT_LE(turns, 4);
}

TEST_F(FlowTest, MovesItsShareAndKnowsThatThereIsMore) {
  const std::string block(RelayResources::kBufferBytes, 'x');
  from_.Send("small");
  EXPECT_EQ(Run(), Progress::kWaiting);
  EXPECT_FALSE(flow_.bulk());
  from_.Send(block);
  from_.Send(block);
  EXPECT_EQ(Run(), Progress::kAgain);
  EXPECT_TRUE(flow_.bulk());
  EXPECT_EQ(flow_.bytes_read(), 5 + block.size());
  EXPECT_EQ(resources_->moved_bytes, 5 + block.size());
  resources_->share_bytes = 10 * block.size();
  to_.Receive();
  EXPECT_EQ(Run(), Progress::kWaiting);
  EXPECT_EQ(flow_.bytes_read(), 5 + 2 * block.size());
}

TEST_F(FlowTest, SaysWhichSideBroke) {
  to_.peer.reset();
  from_.Send("into the void");
  EXPECT_EQ(Run(), Progress::kFailed);
  EXPECT_EQ(flow_.error(), EPIPE);
  EXPECT_FALSE(flow_.error_at_source());
}

TEST_F(FlowTest, PutsAPrefaceInFront) {
  ASSERT_TRUE(flow_.Prepend("PROXY", 5, *resources_));
  from_.Send("+data");
  EXPECT_EQ(Run(), Progress::kWaiting);
  EXPECT_EQ(to_.Receive(), "PROXY+data");
  EXPECT_EQ(flow_.bytes_read(), 5U);
}

TEST_F(FlowTest, SplicesWhatIsLargeUnlessToldOtherwise) {
  struct {
    Splicing splicing;
    std::size_t bytes;
    bool looked_at;
    bool spliced;
  } const cases[] = {
      {Splicing::kAuto, 5, false, false},     {Splicing::kAuto, 1 << 20, false, true},
      {Splicing::kAuto, 1 << 20, true, true}, {Splicing::kOff, 1 << 20, false, false},
      {Splicing::kOn, 5, false, true},        {Splicing::kOn, 5, true, false}};
  for (const auto& each : cases) {
    const Tap tap{.look = [](void*, std::span<const std::uint8_t>) {}};
    RelayResources resources;
    resources.splicing = each.splicing;
    SocketPair from;
    SocketPair to;
    Flow flow;
    std::string got;
    std::string left(each.bytes, 'x');
    while (got.size() < each.bytes) {
      const ssize_t sent = ::send(from.peer.get(), left.data(), left.size(), 0);
      if (sent > 0) left.resize(left.size() - static_cast<std::size_t>(sent));
      from.endpoint.readable = true;
      ASSERT_NE(flow.Run(from.endpoint, to.endpoint, resources, each.looked_at ? tap : Tap{}),
                Progress::kFailed);
      got += to.Receive();
    }
    EXPECT_EQ(resources.pipes.idle() > 0, each.spliced)
        << Name(each.splicing) << ' ' << each.bytes << ' ' << each.looked_at;
    flow.Drop(resources);
  }
}

// The two ends of a TCP connection over loopback; only TCP has urgent data.
SocketPair TcpPair() {
  SocketPair link;
  UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* const raw = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(::bind(listener.get(), raw, length), 0);
  EXPECT_EQ(::listen(listener.get(), 1), 0);
  EXPECT_EQ(::getsockname(listener.get(), raw, &length), 0);
  link.peer.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(link.peer.get(), raw, length), 0);
  link.ours.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  EXPECT_TRUE(link.ours);
  ReadUrgentInline(link.ours.get());
  link.endpoint = {.fd = link.ours.get(), .readable = true, .writable = true};
  return link;
}

// Before the mark splice(2) returns 0 if the end has come after it.
TEST(Flows, UrgentDataIsNotTheEnd) {
  for (const Splicing splicing : {Splicing::kOn, Splicing::kOff}) {
    const auto resources = std::make_unique<RelayResources>();
    resources->splicing = splicing;
    SocketPair from = TcpPair();
    SocketPair to;
    Flow flow;
    from.Send("before");
    ASSERT_EQ(::send(from.peer.get(), "!", 1, MSG_OOB), 1);
    from.Send("after");
    from.End();
    // Once the end has arrived, so have the bytes before it.
    pollfd end{.fd = from.ours.get(), .events = POLLRDHUP, .revents = 0};
    ASSERT_EQ(::poll(&end, 1, 30'000), 1);
    for (int i = 0; i < 10 && !flow.finished(); ++i) {
      from.endpoint.readable = true;
      ASSERT_NE(flow.Run(from.endpoint, to.endpoint, *resources), Progress::kFailed);
    }
    EXPECT_TRUE(flow.finished());
    EXPECT_EQ(to.Receive(), "before!after") << Name(splicing);
    flow.Drop(*resources);
  }
}

TEST(Flows, BufferLittleForEachWhenManyReceiversAreFull) {
  const auto resources = std::make_unique<RelayResources>();
  struct Stalled {
    SocketPair from;
    SocketPair to;
    Flow flow;
  };
  constexpr std::size_t kGenerous = RelayResources::kGenerousBytes / RelayResources::kBufferBytes;
  constexpr std::size_t kFrugal = 50;
  std::vector<std::unique_ptr<Stalled>> all;
  const std::string block(RelayResources::kBufferBytes / 2, 'x');
  for (std::size_t i = 0; i < kGenerous + kFrugal; ++i) {
    Stalled& stalled = *all.emplace_back(std::make_unique<Stalled>());
    while (::send(stalled.to.ours.get(), block.data(), block.size(), 0) > 0) {
    }
    stalled.from.Send(block);
    stalled.from.Send(block);
    EXPECT_EQ(stalled.flow.Run(stalled.from.endpoint, stalled.to.endpoint, *resources),
              Progress::kWaiting);
  }
  EXPECT_EQ(resources->buffered_bytes,
            RelayResources::kGenerousBytes + kFrugal * RelayResources::kFrugalReadBytes);
  // All of it arrives when there is room again, with small and with large reads.
  for (const auto& stalled : all) {
    std::string got = stalled->to.Receive();
    got.clear();
    for (int i = 0; i < 100 && stalled->flow.bytes_written() < 2 * block.size(); ++i) {
      stalled->flow.Run(stalled->from.endpoint, stalled->to.endpoint, *resources);
      got += stalled->to.Receive();
    }
    EXPECT_EQ(got, block + block);
  }
  EXPECT_EQ(resources->buffered_bytes, 0U);
}

int OpenPipes() {
  int count = 0;
  for (int fd = 3; fd < 256; ++fd) count += ::fcntl(fd, F_GETPIPE_SZ) > 0 ? 1 : 0;
  return count;
}

TEST(PipePool, IsBoundedAndClosesWhatIsNotEmpty) {
  const int before = OpenPipes();
  PipePool pool;
  std::vector<Pipe*> acquired;
  while (Pipe* const pipe = pool.Acquire()) {
    EXPECT_GE(pipe->capacity_bytes, 65536U);
    acquired.push_back(pipe);
    ASSERT_LE(acquired.size(), 100U);
  }
  EXPECT_EQ(OpenPipes() - before, static_cast<int>(2 * acquired.size()));
  for (Pipe* const pipe : acquired) pool.Release(*pipe, pipe != acquired.front());
  EXPECT_EQ(OpenPipes() - before, static_cast<int>(2 * (acquired.size() - 1)));
  EXPECT_EQ(pool.idle(), static_cast<int>(acquired.size() - 1));
}

TEST(PipePool, ClosesWhatWasNotNeededLately) {
  const int before = OpenPipes();
  PipePool pool;
  Pipe* const first = pool.Acquire();
  Pipe* const second = pool.Acquire();
  ASSERT_TRUE(first && second);
  pool.Trim();
  EXPECT_EQ(pool.idle(), 0) << "both are in use";
  pool.Release(*first, true);
  pool.Release(*second, true);
  pool.Trim();
  EXPECT_EQ(pool.idle(), 2) << "both were in use until just now";
  EXPECT_EQ(pool.Acquire(), first);
  pool.Release(*first, true);
  pool.Trim();
  EXPECT_EQ(OpenPipes() - before, 2) << "of the first";
  EXPECT_EQ(pool.idle(), 1);
  pool.Trim();
  EXPECT_EQ(OpenPipes(), before);
  EXPECT_EQ(pool.idle(), 0);
  EXPECT_TRUE(pool.Acquire()) << "and opens another when there is need again";
}

}  // namespace
}  // namespace sluice::proxy
