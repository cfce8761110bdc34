#include "proxy/worker.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include <spdlog/spdlog.h>

#include "base/error.h"
#include "proxy/access_log.h"
#include "proxy/sockets.h"

namespace sluice::proxy {
namespace {

// What epoll gives back: a pointer with a tag in its lowest bits, which are free in all of these.
constexpr std::uint64_t kTagMask = 3;
constexpr std::uint64_t kClientTag = 0;  // Session::Side
constexpr std::uint64_t kServerTag = 1;
constexpr std::uint64_t kListenerTag = 2;
constexpr std::uint64_t kWakeTag = 3;

// Events per epoll_wait(2); more wait in the kernel for the next turn.
constexpr std::size_t kEventsPerTurn = 256;

// A burst of new connections must not keep the established ones waiting: about a millisecond.
constexpr int kMaxAcceptsPerTurn = 32;

// After descriptors or memory ran out: long enough to cost nothing, short enough to be a hiccup.
constexpr std::chrono::milliseconds kAcceptPause{100};

// It lasts as long as the shortage does; said now and then.
constexpr std::chrono::seconds kPauseWarnings{10};

// The last packet of a handshake that has begun is here after one round trip.
constexpr std::chrono::milliseconds kHandshakeGrace{250};

// The local addresses are looked at only for connections that may be a loop. An attacker that makes
// such connections gets one netlink dump a second out of it, not one for each.
constexpr std::chrono::seconds kAddressesLifetime{1};

std::uint64_t Tagged(const void* pointer, std::uint64_t tag) {
  return reinterpret_cast<std::uintptr_t>(pointer) | tag;
}

}  // namespace

Worker::Worker(const WorkerShared& shared, int index)
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
               .log = shared.log,
               .index = index,
               .epoll_fd = epoll_.get(),
               .relay = *relay_,
               .timers = timers_,
               .ready = {},
               .closed = {}} {
  if (!epoll_ || !wake_) throw SystemError(errno, "set up a worker thread");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kWakeTag;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0) {
    throw SystemError(errno, "set up a worker thread");
  }
  for (const Direction direction : {Direction::kOutbound, Direction::kInbound}) {
    for (const Family family : {Family::kIpv4, Family::kIpv6}) AddListener(family, direction);
  }
  ListenFor(0);
}

Worker::~Worker() {
  Stop();
  if (thread_.joinable()) thread_.join();
}

void Worker::AddListener(Family family, Direction direction) {
  const ProxyConfig& config = shared_.config;
  const bool transparent =
      direction == Direction::kInbound && config.inbound_mode == InboundMode::kTproxy;
  std::optional<UniqueFd> fd = MakeListener(
      family, direction == Direction::kOutbound ? config.outbound_port : config.inbound_port,
      transparent);
  if (!fd) {
    if (family == Family::kIpv4) {
      throw Error(
          ErrorKind::kKernelFeature,
          {.doing = "listen", .target = "IPv4", .why = "the kernel has no IPv4", .help = {}});
    }
    has_ipv6_ = false;
    return;
  }
  auto listener = std::make_unique<Listener>();
  listener->fd = std::move(*fd);
  listener->family = family;
  listener->direction = direction;
  listener->transparent = transparent;
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

std::uint64_t Worker::NowTicks() const {
  return static_cast<std::uint64_t>((std::chrono::steady_clock::now() - epoch_) / kTick);
}

int Worker::WaitMillis() const {
  if (!context_.ready.empty()) return 0;
  const std::uint64_t due = timers_.NextDue();
  if (due == TimerWheel::kNever) return -1;
  // To the end of the tick: waking before it would find nothing to do. At most a minute, so that
  // the arithmetic cannot overflow; an early wake-up is harmless.
  constexpr std::uint64_t kMaxTicks = std::chrono::minutes(1) / kTick;
  const std::uint64_t now = NowTicks();
  const std::uint64_t ticks = due > now ? std::min(due - now, kMaxTicks) : 0;
  return static_cast<int>(ticks * static_cast<std::uint64_t>(kTick.count()));
}

void Worker::Run() {
  ListenFor(EPOLLIN);
  std::array<epoll_event, kEventsPerTurn> events;
  std::vector<Session*> ready;
  while (!stop_.load(std::memory_order_relaxed)) {
    const int count =
        ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), WaitMillis());
    context_.now_ticks = NowTicks();
    ++turn_;
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      Dispatch(event.data.u64, event.events);
    }
    ready.swap(context_.ready);
    for (Session* session : ready) {
      session->set_queued(false);
      if (session->open()) session->Continue(context_);
    }
    ready.clear();
    timers_.Advance(context_.now_ticks, [this](TimerNode& node) {
      if (&node == &listener_timer_) {
        OnListenerTimer();
      } else {
        static_cast<Session&>(node).OnTimer(context_);
      }
    });
    if (!context_.closed.empty()) {
      SweepClosed();
      if (shared_.log != nullptr) shared_.log->Publish();
    }
  }
  sessions_.ForEachOpen(
      [this](Session& session) { session.Abort(context_, Failure::kDrainTimeout); });
  if (shared_.log != nullptr) shared_.log->Publish();
}

void Worker::SweepClosed() {
  // A session that is still queued is released in the turn that takes it from the queue.
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
    auto& listener = *static_cast<Listener*>(pointer);
    listener.budget =
        listener.last_turn + 1 == turn_ ? std::min(listener.budget * 2, kMaxAcceptsPerTurn) : 1;
    listener.last_turn = turn_;
    Accept(listener, listener.budget);
  } else {
    ObeyCommands();
  }
}

void Worker::ObeyCommands() {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = ::read(wake_.get(), &count, sizeof(count));
  AnswerSnapshots();
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
    // Nothing new can come; what the kernel has made is taken, as far as there are descriptors.
    while (Accept(*listener, kMaxAcceptsPerTurn) == kMaxAcceptsPerTurn) {
    }
    if (paused_) return false;
    listening_[static_cast<std::size_t>(listener->direction)].fetch_sub(1);
    return true;
  });
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
  // One client gets its answer; the others wait in the queue for a descriptor.
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
  // Handed over by TPROXY, a connection keeps the address that it was meant for. What comes to the
  // same listener redirected by the nat table is a call of the pod to itself, through loopback:
  // from the client's own address it would be captured again.
  bool transparent = false;
  if (listener.transparent) {
    const SocketAddress local = LocalAddress(fd);
    transparent = !original || *original == local;
    original = original.value_or(local);
  }
  if (NeedsJudgement(original, shared_.own_ports)) {
    const Arrival arrival{.original = original, .accepted_on = LocalAddress(fd)};
    const Verdict verdict = JudgeArrival(arrival);
    if (verdict != Verdict::kRelay) {
      Refuse(listener, std::move(owner), peer, original.value_or(arrival.accepted_on),
             verdict == Verdict::kLoop ? Failure::kLoop : Failure::kNotRedirected, "NR");
      return;
    }
  }
  if (shared_.stats.Active() >= shared_.max_connections) {
    Refuse(listener, std::move(owner), peer, *original, Failure::kConnectionLimit, "UO");
    return;
  }
  Session* const session = sessions_.Acquire();
  if (session == nullptr) {
    Refuse(listener, std::move(owner), peer, *original, Failure::kNoDescriptor, "UO");
    return;
  }
  const int shortage =
      session->Open(context_, listener.direction, owner.release(), peer, *original, transparent);
  if (shortage != 0) PauseAccepting(shortage);
}

Verdict Worker::JudgeArrival(const Arrival& arrival) {
  const auto now = std::chrono::steady_clock::now();
  if (local_addresses_read_ == std::chrono::steady_clock::time_point{} ||
      now - local_addresses_read_ > kAddressesLifetime) {
    try {
      local_addresses_ = LocalAddresses();
    } catch (const Error& error) {
      // The list of before is better than none; our own address is judged without it.
      spdlog::warn("{}", error.what());
    }
    local_addresses_read_ = now;
  }
  return Judge(arrival, shared_.own_ports, local_addresses_);
}

void Worker::Refuse(const Listener& listener, UniqueFd fd, const SocketAddress& peer,
                    const SocketAddress& original, Failure failure, std::string_view flags) {
  ResetOnClose(fd.get());
  fd.reset();
  context_.stats.of(listener.direction).Count(failure);
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
  std::string line;
  AppendAccessLogLine(record, line);
  shared_.log->Append(index_, line);
  shared_.log->Publish();
}

}  // namespace sluice::proxy
