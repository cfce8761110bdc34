// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/worker.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/error.h"
#include "proxy/accept/sockets.h"

namespace sluice::proxy {
namespace {

// epoll's user data: a pointer with a tag in its lowest bits, which are unused in all of these.
constexpr std::uint64_t kTagMask = 3;
constexpr std::uint64_t kClientTag = 0;  // Session::Side
constexpr std::uint64_t kServerTag = 1;
constexpr std::uint64_t kListenerTag = 2;
constexpr std::uint64_t kWakeTag = 3;

// Events per epoll_wait(2); more wait in the kernel for the next turn.
constexpr std::size_t kEventsPerTurn = 256;

// How often a worker looks for pipes it has not needed since the last time. All sidecars of a node
// share a quota of pipe pages, and a new pipe costs some ten microseconds: nothing, once in
// seconds.
constexpr std::chrono::seconds kPipeRest{2};

// The last packet of a started handshake arrives within one round trip.
constexpr std::chrono::milliseconds kHandshakeGrace{250};

std::uint64_t Tagged(const void* pointer, std::uint64_t tag) {
  return reinterpret_cast<std::uintptr_t>(pointer) | tag;
}

}  // namespace

Worker::Worker(const WorkerShared& shared, int index, std::vector<GivenListener> given)
    : shared_(shared),
      index_(index),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      spare_(::open("/dev/null", O_RDONLY | O_CLOEXEC)),
      relay_(new RelayResources),
      epoch_(std::chrono::steady_clock::now()),
      timers_(0),
      context_{.config = shared.config,
               .stats = shared.stats.worker(index),
               .epoll_fd = epoll_.get(),
               .relay = *relay_,
               .timers = timers_,
               .own_sockets = shared.own_sockets,
               .ready = {},
               .closed = {},
               .mtls = shared.mtls},
      busy_poll_(shared.busy_poll),
      next_note_(shared.history == nullptr ? epoch_.max() : epoch_) {
  relay_->splicing = shared.config.splicing;
  if (shared.config.http.enabled()) {
    ids_ = std::make_unique<IdSource>();
    context_.ids = ids_.get();
  }
  if (!epoll_ || !wake_) throw SystemError(errno, "set up a worker thread");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kWakeTag;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0) {
    throw SystemError(errno, "set up a worker thread");
  }
  for (GivenListener& each : given) {
    AdoptListener(each.fd.get(), each.family, IsTransparent(each.direction));
    Serve(std::move(each));
  }
  for (const Direction direction : {Direction::kOutbound, Direction::kInbound}) {
    for (const Family family : {Family::kIpv4, Family::kIpv6}) {
      const bool there = std::ranges::any_of(listeners_, [&](const auto& listener) {
        return listener->family == family && listener->direction == direction;
      });
      if (!there) AddListener(family, direction);
    }
  }
  ListenFor(0);
}

Worker::~Worker() {
  Stop();
  Join();
}

void Worker::Join() {
  if (thread_.joinable()) thread_.join();
}

bool Worker::IsTransparent(Direction direction) const {
  return direction == Direction::kInbound && shared_.config.inbound_mode == InboundMode::kTproxy;
}

void Worker::AddListener(Family family, Direction direction) {
  const ProxyConfig& config = shared_.config;
  std::optional<UniqueFd> fd = MakeListener(
      family, direction == Direction::kOutbound ? config.outbound_port : config.inbound_port,
      IsTransparent(direction));
  if (!fd) {
    if (family == Family::kIpv4) {
      throw Error(
          ErrorKind::kKernelFeature,
          {.doing = "listen", .target = "IPv4", .why = "the kernel has no IPv4", .help = {}});
    }
    has_ipv6_ = false;
    return;
  }
  Serve({.fd = std::move(*fd), .family = family, .direction = direction});
}

void Worker::Serve(GivenListener given) {
  const Direction direction = given.direction;
  auto listener = std::make_unique<Listener>();
  listener->fd = std::move(given.fd);
  listener->family = given.family;
  listener->direction = direction;
  listener->transparent = IsTransparent(direction);
  epoll_event event{};
  event.data.u64 = Tagged(listener.get(), kListenerTag);
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, listener->fd.get(), &event) != 0) {
    throw SystemError(errno, "watch a listening socket");
  }
  listeners_.push_back(std::move(listener));
  listening_[static_cast<std::size_t>(direction)].fetch_add(1);
}

void Worker::ListenFor(std::uint32_t events) {
  for (const auto& listener : listeners_) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = Tagged(listener.get(), kListenerTag);
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, listener->fd.get(), &event);
  }
}

void Worker::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Worker::CloseListeners(Direction direction) {
  close_requested_[static_cast<std::size_t>(direction)].store(true);
  Wake();
}

std::vector<ConnectionInfo> Worker::Connections() {
  std::future<std::vector<ConnectionInfo>> answer;
  {
    const std::scoped_lock lock(snapshots_mutex_);
    answer = snapshots_.emplace_back().get_future();
  }
  Wake();
  if (answer.wait_for(std::chrono::seconds(1)) != std::future_status::ready) return {};
  return answer.get();
}

void Worker::AnswerSnapshots() {
  std::vector<std::promise<std::vector<ConnectionInfo>>> asked;
  {
    const std::scoped_lock lock(snapshots_mutex_);
    asked.swap(snapshots_);
  }
  for (auto& promise : asked) {
    std::vector<ConnectionInfo> connections;
    sessions_.ForEachOpen(
        [&](const Session& session) { connections.push_back(session.Info(context_)); });
    promise.set_value(std::move(connections));
  }
}

void Worker::Wake() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof(one));
}

void Worker::Stop() {
  stop_.store(true);
  Wake();
}

int Worker::Wait(std::span<epoll_event> events) {
  const auto poll = [&](int timeout_ms) {
    return ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
  };
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  auto now = start;
  int count = 0;
  if (const auto span = busy_poll_.Span(); span > span.zero() && !context_.HasWork()) {
    do {
      count = poll(0);
      now = Clock::now();
    } while (count == 0 && now - start < span);
  }
  if (count == 0) {
    count = poll(WaitMillis(TicksAt(now)));
    now = Clock::now();
  }
  context_.now_ticks = TicksAt(now);
  if (now >= next_note_) next_note_ = shared_.history->Note(index_, context_.stats, now);
  const std::uint64_t tag = count == 1 ? events.front().data.u64 : kListenerTag;
  const bool of_session = (tag & kTagMask) == kClientTag || (tag & kTagMask) == kServerTag;
  busy_poll_.Observe(of_session ? tag & ~kTagMask : 0, now - start);
  return count;
}

int Worker::WaitMillis(std::uint64_t now) const {
  if (context_.HasWork()) return 0;
  const std::uint64_t due = timers_.NextDue();
  if (due == TimerWheel::kNever) return -1;
  // Sleep to the end of the tick: waking earlier would find nothing to do. At most an hour, so
  // that the arithmetic cannot overflow; an early wake-up is harmless.
  constexpr std::uint64_t kMaxTicks = std::chrono::hours(1) / kTick;
  const std::uint64_t ticks = due > now ? std::min(due - now, kMaxTicks) : 0;
  return static_cast<int>(ticks * static_cast<std::uint64_t>(kTick.count()));
}

void Worker::Run() {
  ListenFor(EPOLLIN);
  std::array<epoll_event, kEventsPerTurn> events;
  while (!stop_.load(std::memory_order_relaxed)) {
    const int count = Wait(events);
    ++turn_;
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      Dispatch(event.data.u64, event.events);
    }
    ServeReady(context_);
    if (!context_.handshakes.empty()) ServeHandshake(context_);
    timers_.Advance(context_.now_ticks, [this](TimerNode& node) {
      if (&node == &listener_timer_) {
        OnListenerTimer();
      } else if (&node == &pipe_timer_) {
        relay_->pipes.Trim();
      } else {
        static_cast<Session&>(node).OnTimer(context_);
      }
    });
    if (relay_->pipes.idle() > 0 && !pipe_timer_.armed()) {
      timers_.Set(pipe_timer_, context_.now_ticks + static_cast<std::uint64_t>(kPipeRest / kTick));
    }
    if (!context_.closed.empty()) SweepClosed();
    HandOverLog();
  }
  sessions_.ForEachOpen(
      [this](Session& session) { session.Abort(context_, Failure::kDrainTimeout); });
  HandOverLog();
}

void Worker::HandOverLog() {
  if (!context_.log_lines.empty()) shared_.log->Take(index_, context_.log_lines);
}

void Worker::SweepClosed() {
  // A session that is still queued is released in the turn that dequeues it.
  std::erase_if(context_.closed, [this](Session* session) {
    if (session->queued()) return false;
    sessions_.Release(*session);
    return true;
  });
}

void Worker::Dispatch(std::uint64_t tag, std::uint32_t events) {
  const std::uint64_t kind = tag & kTagMask;
  void* const pointer = reinterpret_cast<void*>(tag & ~kTagMask);
  if (kind == kClientTag || kind == kServerTag) {
    auto& session = *static_cast<Session*>(pointer);
    if (session.open()) session.OnEvents(context_, static_cast<Session::Side>(kind), events);
  } else if (kind == kListenerTag) {
    OnArrivals(*static_cast<Listener*>(pointer));
  } else {
    ObeyCommands();
  }
}

void Worker::AppendListeners(std::vector<int>& out) const {
  for (const auto& listener : listeners_) out.push_back(listener->fd.get());
}

void Worker::ObeyCommands() {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = ::read(wake_.get(), &count, sizeof(count));
  AnswerSnapshots();
  GiveRoom();
  for (std::size_t i = 0; i < context_.draining.size(); ++i) {
    context_.draining[i] = close_requested_[i];
  }
  if (shared_.handed_over) {
    LeaveListeners();
    return;
  }
  bool closing = false;
  for (const auto& listener : listeners_) {
    if (listener->closing || !close_requested_[static_cast<std::size_t>(listener->direction)]) {
      continue;
    }
    listener->closing = closing = true;
    RefuseNewConnections(listener->fd.get());
  }
  const auto ticks = static_cast<std::uint64_t>(kHandshakeGrace / kTick);
  if (closing) timers_.Set(listener_timer_, NowTicks() + ticks);
}

}  // namespace sluice::proxy
