// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "test/netns/streams.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace sluice::testing_support {
namespace {

using Clock = std::chrono::steady_clock;

// As much as the proxy copies at a time.
constexpr std::size_t kBlock = 64 * 1024;
constexpr std::size_t kPing = 64;

// Between two rounds: at full speed the stream would occupy a whole CPU, and its latency would mean
// nothing else.
constexpr std::chrono::milliseconds kBreath{1};

void SetNonBlocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }

}  // namespace

std::uint64_t Pattern::Word(std::uint64_t index) const {
  // splitmix64 (Steele, Lea, Flood 2014), which can start anywhere.
  std::uint64_t z = (seed_ << 40) + (index + 1) * 0x9e3779b97f4a7c15U;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

void Pattern::Fill(std::uint64_t position, char* out, std::size_t size) const {
  std::uint64_t index = position / 8;
  // The end of the first word, and the beginning of the last.
  if (const std::size_t skip = position % 8; skip > 0) {
    const std::uint64_t word = Word(index++);
    const std::size_t part = std::min(size, sizeof(word) - skip);
    std::memcpy(out, reinterpret_cast<const char*>(&word) + skip, part);
    out += part;
    size -= part;
  }
  for (; size >= sizeof(std::uint64_t); size -= sizeof(std::uint64_t)) {
    const std::uint64_t word = Word(index++);
    std::memcpy(out, &word, sizeof(word));
    out += sizeof(word);
  }
  const std::uint64_t word = Word(index);
  std::memcpy(out, &word, size);
}

bool Pattern::Matches(std::uint64_t position, std::string_view bytes) const {
  std::array<char, 4096> expected;
  while (!bytes.empty()) {
    const std::string_view part = bytes.substr(0, expected.size());
    Fill(position, expected.data(), part.size());
    if (part != std::string_view(expected.data(), part.size())) return false;
    position += part.size();
    bytes.remove_prefix(part.size());
  }
  return true;
}

void SendPattern(Peer& peer, const Pattern& pattern, std::uint64_t size) {
  std::vector<char> block(kBlock);
  for (std::uint64_t sent = 0; sent < size;) {
    const std::size_t part = std::min<std::uint64_t>(kBlock, size - sent);
    pattern.Fill(sent, block.data(), part);
    if (!peer.Send({block.data(), part})) return;
    sent += part;
  }
  peer.EndSending();
}

std::size_t SendUntilFull(const Peer& peer, const Pattern& pattern, std::size_t begin,
                          std::size_t end) {
  std::vector<char> bytes(kBlock);
  while (begin < end) {
    const std::size_t part = std::min(kBlock, end - begin);
    pattern.Fill(begin, bytes.data(), part);
    const ssize_t sent = ::send(peer.fd(), bytes.data(), part, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent <= 0) break;
    begin += static_cast<std::size_t>(sent);
  }
  return begin;
}

std::uint64_t ReceivePattern(Peer& peer, const Pattern& pattern) {
  for (std::uint64_t received = 0;;) {
    const std::string got = peer.Receive(kBlock);
    if (!pattern.Matches(received, got)) {
      ADD_FAILURE() << "wrong bytes after " << received;
      return received;
    }
    received += got.size();
    if (got.size() < kBlock) {
      EXPECT_EQ(peer.WaitForEnd(), End::kFin);
      return received;
    }
  }
}

Transfers::Transfers(std::uint64_t bytes_each)
    : bytes_each_(bytes_each), epoll_(::epoll_create1(EPOLL_CLOEXEC)), buffer_(kBlock) {}

void Transfers::Add(Peer sender, Peer receiver) {
  const std::uint64_t index = streams_.size();
  // The lowest bit of an event's data says which end it is for.
  epoll_event event{.events = EPOLLOUT, .data = {.u64 = index * 2}};
  SetNonBlocking(sender.fd());
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, sender.fd(), &event);
  event = {.events = EPOLLIN, .data = {.u64 = index * 2 + 1}};
  SetNonBlocking(receiver.fd());
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, receiver.fd(), &event);
  streams_.push_back(
      {.sender = std::move(sender), .receiver = std::move(receiver), .pattern = Pattern(index)});
  ++open_;
}

bool Transfers::RunIntoTheMiddle(std::uint64_t bytes) {
  while (open_ > 0 && (begun_ < streams_.size() || arrived_ < bytes)) {
    if (!Turn()) return false;
  }
  return true;
}

bool Transfers::RunToTheEnd() {
  while (open_ > 0) {
    if (!Turn()) return false;
  }
  return true;
}

bool Transfers::Turn() {
  std::array<epoll_event, 256> events;
  const auto patience = std::chrono::milliseconds(kPatience);
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                 static_cast<int>(patience.count()));
  for (int i = 0; i < count; ++i) {
    const std::uint64_t tag = events[static_cast<std::size_t>(i)].data.u64;
    Stream& stream = streams_[tag / 2];
    if (stream.over) continue;
    if (tag % 2 == 0) {
      SendSome(stream);
    } else {
      ReceiveSome(stream);
    }
  }
  return count > 0;
}

void Transfers::SendSome(Stream& stream) {
  const std::size_t part = std::min<std::uint64_t>(kBlock, bytes_each_ - stream.sent);
  stream.pattern.Fill(stream.sent, buffer_.data(), part);
  const ssize_t sent = ::send(stream.sender.fd(), buffer_.data(), part, MSG_NOSIGNAL);
  if (sent < 0) {
    if (errno != EAGAIN) Retire(stream, false);
    return;
  }
  stream.sent += static_cast<std::uint64_t>(sent);
  if (stream.sent < bytes_each_) return;
  stream.sender.EndSending();
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, stream.sender.fd(), nullptr);
}

void Transfers::ReceiveSome(Stream& stream) {
  const ssize_t got = ::recv(stream.receiver.fd(), buffer_.data(), buffer_.size(), 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) {
    Retire(stream, got == 0 && stream.received == bytes_each_);
    return;
  }
  const auto size = static_cast<std::size_t>(got);
  if (!stream.pattern.Matches(stream.received, {buffer_.data(), size})) {
    Retire(stream, false);
    return;
  }
  if (stream.received == 0) ++begun_;
  stream.received += size;
  arrived_ += size;
}

void Transfers::Retire(Stream& stream, bool complete) {
  stream.over = true;
  stream.sender.Close();
  stream.receiver.Close();
  --open_;
  if (complete) ++complete_;
}

Latencies::Latencies(std::vector<std::chrono::nanoseconds> times) : times_(std::move(times)) {
  std::ranges::sort(times_);
}

std::string Latencies::ToString() const {
  if (times_.empty()) return "no ping";
  const auto at = [&](std::size_t percent) {
    using Milliseconds = std::chrono::duration<double, std::milli>;
    return Milliseconds(times_[times_.size() * percent / 100]).count();
  };
  return fmt::format("p50 {:.2f} ms, p99 {:.2f} ms", at(50), at(99));
}

WellBehaved::WellBehaved(Peer client, Peer server)
    : client_(std::move(client)),
      server_(std::move(server)),
      block_(kBlock),
      asking_([this] { Ask(); }),
      answering_([this] { Answer(); }) {}

WellBehaved::~WellBehaved() {
  stop_ = true;
  asking_.join();
  answering_.join();
}

bool WellBehaved::MakesRounds(std::uint64_t count) {
  const std::uint64_t wanted = rounds_ + count;
  return Eventually([&] { return failed_ || rounds_ >= wanted; }) && !failed_;
}

Latencies WellBehaved::TakeLatencies() {
  const std::scoped_lock lock(mutex_);
  return Latencies(std::exchange(times_, {}));
}

void WellBehaved::Ask() {
  while (!stop_) {
    const Clock::time_point start = Clock::now();
    if (!Exchange(kPing)) break;
    const Clock::duration took = Clock::now() - start;
    {
      const std::scoped_lock lock(mutex_);
      times_.push_back(took);
    }
    if (!Exchange(kBlock)) break;
    ++rounds_;
    std::this_thread::sleep_for(kBreath);
  }
  failed_ = !stop_;
  // The other thread reads to the end.
  client_.EndSending();
}

bool WellBehaved::Exchange(std::size_t size) {
  pattern_.Fill(bytes_, block_.data(), size);
  if (!client_.Send({block_.data(), size})) return false;
  const std::string back = client_.Receive(size);
  if (back.size() != size || !pattern_.Matches(bytes_, back)) return false;
  bytes_ += size;
  return true;
}

void WellBehaved::Answer() {
  std::vector<char> buffer(kBlock);
  while (true) {
    const ssize_t got = ::recv(server_.fd(), buffer.data(), buffer.size(), 0);
    if (got <= 0 || !server_.Send({buffer.data(), static_cast<std::size_t>(got)})) return;
  }
}

}  // namespace sluice::testing_support
