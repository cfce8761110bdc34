// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <spdlog/spdlog.h>

#include "base/error.h"
#include "base/os/reset_on_close.h"
#include "base/pod_contract.h"
#include "proxy/accept/sockets.h"
#include "proxy/log/access_log.h"
#include "proxy/worker.h"

// How a worker accepts: which connections, how many at a time, and what it does on failure.

namespace sluice::proxy {
namespace {

// A burst of new connections must not delay established ones: about a millisecond.
constexpr int kMaxAcceptsPerTurn = 32;

// After running out of descriptors or memory: long enough to cost nothing, and still short.
constexpr std::chrono::milliseconds kAcceptPause{100};

// Logged now and then, as long as the shortage lasts.
constexpr std::chrono::seconds kPauseWarnings{10};

// Local addresses are read only for connections that may be a loop. An attacker who makes such
// connections causes one netlink dump a second, not one for each.
constexpr std::chrono::seconds kAddressesLifetime{1};

}  // namespace

void Worker::OnArrivals(Listener& listener) {
  if (!listener.fd) return;
  listener.budget =
      listener.last_turn + 1 == turn_ ? std::min(listener.budget * 2, kMaxAcceptsPerTurn) : 1;
  listener.last_turn = turn_;
  Accept(listener, listener.budget);
}

void Worker::OnListenerTimer() {
  if (paused_) {
    paused_ = false;
    ListenFor(EPOLLIN);
  }
  FinishClosing();
}

void Worker::FinishClosing() {
  std::erase_if(listeners_, [this](const std::unique_ptr<Listener>& listener) {
    if (!listener->closing) return false;
    // No new ones arrive; those already established are accepted, as far as there are descriptors.
    while (Accept(*listener, kMaxAcceptsPerTurn) == kMaxAcceptsPerTurn) {
    }
    if (paused_) return false;
    listening_[static_cast<std::size_t>(listener->direction)].fetch_sub(1);
    return true;
  });
}

void Worker::LeaveListeners() {
  for (const auto& listener : listeners_) {
    const auto direction = static_cast<std::size_t>(listener->direction);
    if (!listener->fd || !close_requested_[direction]) continue;
    // The socket lives on in the other process, and epoll(7) watches sockets, not descriptors.
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, listener->fd.get(), nullptr);
    // The Listener stays: events of this turn may still refer to it.
    listener->fd.reset();
    listening_[direction].fetch_sub(1);
  }
}

int Worker::Accept(Listener& listener, int limit) {
  int accepted = 0;
  for (; accepted < limit && !paused_; ++accepted) {
    sockaddr_storage address;
    socklen_t length = sizeof(address);
    const int fd = ::accept4(listener.fd.get(), reinterpret_cast<sockaddr*>(&address), &length,
                             SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      Admit(listener, fd, FromSockaddr(address));
    } else if (errno == EAGAIN) {
      break;
    } else if (!IsOfOneConnection(errno)) {
      PauseAccepting(errno);
    }
  }
  return accepted;
}

void Worker::PauseAccepting(int error) {
  paused_ = true;
  context_.stats.accept_pauses.Add(1);
  ListenFor(0);
  timers_.Set(listener_timer_, NowTicks() + static_cast<std::uint64_t>(kAcceptPause / kTick));
  const auto now = std::chrono::steady_clock::now();
  if (now >= next_pause_warning_) {
    next_pause_warning_ = now + kPauseWarnings;
    spdlog::warn("accepting is paused for {} ms at a time: {}", kAcceptPause.count(),
                 std::strerror(error));
  }
  // One client gets an answer; the others wait in the queue for a descriptor.
  spare_.reset();
  for (const auto& listener : listeners_) {
    sockaddr_storage address;
    socklen_t length = sizeof(address);
    UniqueFd fd(::accept4(listener->fd.get(), reinterpret_cast<sockaddr*>(&address), &length,
                          SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) continue;
    const auto original = OriginalDestination(fd.get(), listener->family);
    Refuse(*listener, std::move(fd), FromSockaddr(address), original.value_or(SocketAddress{}),
           Failure::kNoDescriptor, "UO");
    break;
  }
  spare_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

void Worker::Admit(const Listener& listener, int fd, const SocketAddress& peer) {
  UniqueFd owner(fd);
  std::optional<SocketAddress> original = OriginalDestination(fd, listener.family);
  // A connection from TPROXY keeps its original destination address. One that the nat table
  // redirected to the same listener is a call of the pod to itself, through loopback: with the
  // client's own address as source it would be captured again.
  bool transparent = false;
  if (listener.transparent) {
    const SocketAddress local = LocalAddress(fd);
    transparent = !original || *original == local;
    original = original.value_or(local);
  }
  if (NeedsJudgement(original, shared_.own_ports)) {
    const Arrival arrival{.original = original, .accepted_on = LocalAddress(fd)};
    const Admission admission = AdmissionHere(arrival);
    if (admission != Admission::kRelay) {
      Refuse(listener, std::move(owner), peer, original.value_or(arrival.accepted_on),
             admission == Admission::kLoop ? Failure::kLoop : Failure::kNotRedirected, "NR");
      return;
    }
  }
  if (IsLoop(peer, *original)) {
    Refuse(listener, std::move(owner), peer, *original, Failure::kLoop, "NR");
    return;
  }
  auto full = Shortage(listener.direction, peer.ip);
  // Half of the places may wait in each direction, and two of two: they keep nobody out.
  if (full == Failure::kConnectionLimit && shared_.stats.Pending() > shared_.max_connections / 2) {
    if (Droppable(listener.direction) > 0 && DropOldestPending(listener.direction)) {
      full = Shortage(listener.direction, peer.ip);
    } else if (AskOthersForRoom(listener.direction)) {
      full = Shortage(listener.direction, peer.ip, 1);
    }
  }
  if (full) {
    Refuse(listener, std::move(owner), peer, *original, *full, "UO");
    return;
  }
  MakeRoomToConnect(listener.direction);
  Session* const session = sessions_.Acquire();
  if (session == nullptr) {
    Refuse(listener, std::move(owner), peer, *original, Failure::kNoDescriptor, "UO");
    return;
  }
  const int shortage =
      session->Open(context_, listener.direction, owner.release(), peer, *original, transparent);
  if (shortage != 0) PauseAccepting(shortage);
}

std::optional<Failure> Worker::Shortage(Direction direction, const IpAddress& client,
                                        std::uint64_t leaving) const {
  const Direction other =
      direction == Direction::kOutbound ? Direction::kInbound : Direction::kOutbound;
  const std::uint64_t open = shared_.stats.Active(direction);
  const std::uint64_t active = open - std::min(open, leaving);
  if (active >= shared_.max_of_direction ||
      active + shared_.stats.Active(other) >= shared_.max_connections) {
    return Failure::kConnectionLimit;
  }
  // Outbound, all are the pod itself.
  if (direction == Direction::kOutbound) return std::nullopt;
  const std::uint64_t free = shared_.max_of_direction - active;
  // Nobody has more than all.
  if (IsWithinShare(active, free)) return std::nullopt;
  // The kernel spreads a client's connections over the workers evenly, so that they need not count
  // together.
  const std::uint64_t own = context_.clients.Of(client) * shared_.stats.workers().size();
  return IsWithinShare(own, free) ? std::nullopt : std::optional(Failure::kClientLimit);
}

void Worker::MakeRoomToConnect(Direction direction) {
  if (shared_.stats.Pending(direction) >= shared_.max_pending) DropOldestPending(direction);
}

bool Worker::DropOldestPending(Direction direction) {
  // A live destination would have answered long ago; this one is most likely dead.
  Session* const oldest = context_.pending[static_cast<std::size_t>(direction)].oldest();
  if (oldest == nullptr) return false;
  oldest->Abort(context_, Failure::kPendingLimit);
  return true;
}

std::uint64_t Worker::Droppable(Direction direction) const {
  const std::uint64_t asked = asked_for_room_[static_cast<std::size_t>(direction)];
  const std::uint64_t pending = context_.stats.of(direction).pending.Get();
  return pending - std::min(asked, pending);
}

bool Worker::AskForRoom(Direction direction) {
  std::atomic<std::uint64_t>& asked = asked_for_room_[static_cast<std::size_t>(direction)];
  // As many workers may ask at once for what only one of them can have.
  std::uint64_t before = asked;
  do {
    if (before >= context_.stats.of(direction).pending.Get()) return false;
  } while (!asked.compare_exchange_weak(before, before + 1));
  Wake();
  return true;
}

bool Worker::AskOthersForRoom(Direction direction) const {
  const auto most = std::ranges::max_element(
      shared_.workers, {}, [=](const auto& worker) { return worker->Droppable(direction); });
  return (*most)->AskForRoom(direction);
}

void Worker::GiveRoom() {
  for (const Direction direction : {Direction::kOutbound, Direction::kInbound}) {
    std::atomic<std::uint64_t>& asked = asked_for_room_[static_cast<std::size_t>(direction)];
    // One after the other, so that never more are asked for than there are.
    for (; asked > 0; asked.fetch_sub(1)) DropOldestPending(direction);
  }
}

bool Worker::IsLoop(const SocketAddress& peer, const SocketAddress& original) const {
  // A proxy, this or another one, connects to the application from there.
  if (peer.ip == pod::PassthroughSource(peer.ip.family())) return true;
  if (shared_.own_sockets.Passes(peer, original) < OwnSockets::kLoop) return false;
  shared_.own_sockets.WarnOnce();
  return true;
}

Admission Worker::AdmissionHere(const Arrival& arrival) {
  const auto now = std::chrono::steady_clock::now();
  if (local_addresses_read_ == std::chrono::steady_clock::time_point{} ||
      now - local_addresses_read_ > kAddressesLifetime) {
    try {
      local_addresses_ = LocalAddresses();
    } catch (const Error& error) {
      // Keep the old list; our own address is checked without it.
      spdlog::warn("{}", error.what());
    }
    local_addresses_read_ = now;
  }
  return AdmissionOf(arrival, shared_.own_ports, local_addresses_);
}

void Worker::Refuse(const Listener& listener, UniqueFd fd, const SocketAddress& peer,
                    const SocketAddress& original, Failure failure, std::string_view flags) {
  // First, so that a client which sees the end finds it counted.
  context_.stats.of(listener.direction).Count(failure);
  ResetOnClose(fd.get());
  fd.reset();
  if (shared_.log == nullptr) return;
  AccessRecord record{.direction = listener.direction,
                      .downstream_remote = peer,
                      .downstream_local = original,
                      .refused = true,
                      .response_flags = flags,
                      .termination_details = Name(failure)};
  record.start_unix_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                             std::chrono::system_clock::now().time_since_epoch())
                             .count();
  AppendAccessLogLine(record, context_.log_lines);
}

}  // namespace sluice::proxy
