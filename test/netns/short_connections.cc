// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "test/netns/short_connections.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "test/support/in_namespace.h"

namespace sluice::testing_support {
namespace {

// A request or its answer; fits into any socket's buffer, so that no send(2) is partial.
using Message = std::array<char, 64>;

// The data of an EchoServer's listener events; descriptors are smaller.
constexpr std::uint64_t kListenerTag = 1ULL << 32;
constexpr std::uint64_t kWakeTag = 1ULL << 33;

Message MessageOf(std::uint64_t number) {
  Message out{};
  std::memcpy(out.data(), &number, sizeof(number));
  return out;
}

void Watch(int epoll, int fd, std::uint32_t events, std::uint64_t data) {
  epoll_event event{.events = events, .data = {.u64 = data}};
  ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

// If a child process that has not called exec yet also has the socket, closing alone does not end
// the watch, and its events would go to the next owner of the number.
void Unwatch(int epoll, int fd) { ::epoll_ctl(epoll, EPOLL_CTL_DEL, fd, nullptr); }

}  // namespace

EchoServer::EchoServer(const netns::Namespace& where, Family family, std::size_t ports)
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)), wake_(::eventfd(0, EFD_CLOEXEC)) {
  for (std::size_t i = 0; i < ports; ++i) {
    const int fd = listeners_.emplace_back(where, family).fd();
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    Watch(epoll_.get(), fd, EPOLLIN, kListenerTag | i);
  }
  Watch(epoll_.get(), wake_.get(), EPOLLIN, kWakeTag);
  thread_ = std::thread([this] { Run(); });
}

EchoServer::~EchoServer() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof(one));
  thread_.join();
}

std::vector<std::uint16_t> EchoServer::ports() const {
  std::vector<std::uint16_t> out;
  for (const Acceptor& listener : listeners_) out.push_back(listener.port());
  return out;
}

void EchoServer::Run() {
  std::array<epoll_event, 256> events;
  while (true) {
    const int count =
        ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < count; ++i) {
      const std::uint64_t tag = events[static_cast<std::size_t>(i)].data.u64;
      if ((tag & kWakeTag) != 0) return;
      if ((tag & kListenerTag) != 0) {
        AcceptAll(listeners_[tag & ~kListenerTag]);
      } else {
        Serve(static_cast<int>(tag));
      }
    }
  }
}

void EchoServer::AcceptAll(const Acceptor& listener) {
  while (true) {
    UniqueFd fd(::accept4(listener.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) return;
    const auto index = static_cast<std::size_t>(fd.get());
    Watch(epoll_.get(), fd.get(), EPOLLIN, index);
    if (connections_.size() <= index) connections_.resize(index + 1);
    connections_[index] = std::move(fd);
  }
}

void EchoServer::Serve(int fd) {
  Message message;
  const ssize_t got = ::recv(fd, message.data(), message.size(), 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0 || ::send(fd, message.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL) != got) {
    Unwatch(epoll_.get(), fd);
    connections_[static_cast<std::size_t>(fd)].reset();
  }
}

ShortConnections::ShortConnections(const netns::Namespace& where, std::vector<SocketAddress> to,
                                   std::size_t at_once, std::uint64_t count)
    : to_(std::move(to)),
      count_(count),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      places_(at_once),
      thread_([this, &where] { RunIn(where, kApplication, [this] { Run(); }); }) {}

ShortConnections::~ShortConnections() { Stop(); }

void ShortConnections::Stop() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

void ShortConnections::Run() {
  for (Place& place : places_) Open(place);
  std::array<epoll_event, 256> events;
  while (open_ > 0) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                   static_cast<int>(std::chrono::milliseconds(kPatience).count()));
    if (count == 0) break;  // no more answers
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      OnEvents(places_[event.data.u64], event.events);
    }
  }
  lost_ += open_;
  done_ = true;
}

void ShortConnections::Open(Place& place) {
  if (stop_ || opened_ == count_) return;
  const SocketAddress& target = to_[opened_ % to_.size()];
  const bool v4 = target.ip.family() == Family::kIpv4;
  place.fd.reset(::socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  place.number = opened_++;
  place.asked = false;
  ++open_;
  sockaddr_storage address;
  const socklen_t length = ToSockaddr(target, address);
  if (!place.fd || (::connect(place.fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 &&
                    errno != EINPROGRESS)) {
    Fail(place, errno);
    return;
  }
  Watch(epoll_.get(), place.fd.get(), EPOLLIN | EPOLLOUT | EPOLLET,
        static_cast<std::uint64_t>(&place - places_.data()));
}

void ShortConnections::OnEvents(Place& place, std::uint32_t events) {
  if ((events & EPOLLERR) != 0) {
    int error = 0;
    socklen_t length = sizeof(error);
    ::getsockopt(place.fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
    Fail(place, error);
    return;
  }
  const Message question = MessageOf(place.number);
  if (!place.asked && (events & EPOLLOUT) != 0) {
    place.asked = true;
    if (::send(place.fd.get(), question.data(), question.size(), MSG_NOSIGNAL) < 0) {
      Fail(place, errno);
      return;
    }
  }
  if ((events & EPOLLIN) == 0) return;
  Message answer{};
  const ssize_t got = ::recv(place.fd.get(), answer.data(), answer.size(), 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got != static_cast<ssize_t>(answer.size()) || answer != question) {
    Fail(place, got < 0 ? errno : 0);
    return;
  }
  ++served_;
  Close(place);
  Open(place);
}

void ShortConnections::Fail(Place& place, int error) {
  ++(error == ECONNREFUSED ? refused_ : lost_);
  Close(place);
}

void ShortConnections::Close(Place& place) {
  Unwatch(epoll_.get(), place.fd.get());
  place.fd.reset();
  --open_;
}

}  // namespace sluice::testing_support
