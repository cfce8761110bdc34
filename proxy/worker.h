// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "proxy/accept/destination.h"
#include "proxy/busy_poll.h"
#include "proxy/config.h"
#include "proxy/control/history.h"
#include "proxy/log/log_writer.h"
#include "proxy/relay/relay.h"
#include "proxy/session/session.h"
#include "proxy/session/session_pool.h"
#include "proxy/session/timer_wheel.h"
#include "proxy/stats.h"

namespace sluice::proxy {

// A listening socket received from another proxy.
struct GivenListener {
  UniqueFd fd;
  Family family = Family::kIpv4;
  Direction direction = Direction::kOutbound;
};

class Worker;

// Shared by all workers; it outlives them and does not change while they run.
struct WorkerShared {
  const ProxyConfig& config;
  Stats& stats;
  // All of them: none is destroyed before all have ended.
  const std::vector<std::unique_ptr<Worker>>& workers;
  LogWriter* log;
  OwnSockets& own_sockets;
  std::vector<std::uint16_t> own_ports;
  std::uint64_t max_connections;
  // Limits, so that neither one direction nor the connections being set up take all.
  std::uint64_t max_of_direction;
  std::uint64_t max_pending;  // of one direction
  bool busy_poll;
  // Another proxy also serves the listening sockets (see HandOver); the only thing here that may
  // change, once.
  const std::atomic<bool>& handed_over;
  History* history = nullptr;       // null: there is none
  const MutualTls* mtls = nullptr;  // null: there is none
};

// One thread with an event loop, its own listening sockets (SO_REUSEPORT spreads the connections)
// and its own connections. On the data path, workers share nothing that is written.
class Worker {
 public:
  // Uses the sockets that are `given`, and binds its own for the rest; throws sluice::Error.
  // Accepts nothing before Start.
  Worker(const WorkerShared& shared, int index, std::vector<GivenListener> given);
  // Resets the remaining connections and ends the thread.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void Start();

  // Stops listening in one direction without losing connections that the kernel has already
  // established: the proxy that got the sockets takes them, or this one. Thread-safe; takes effect
  // within a second.
  void CloseListeners(Direction direction);
  // The open connections. Asks the worker's thread and waits for at most a second; empty if it does
  // not answer. Thread-safe.
  std::vector<ConnectionInfo> Connections();
  // Asks for room: this worker is to drop the connection that has waited longest for its
  // destination. False if it has none, or is asked already to drop all it has. Thread-safe.
  bool AskForRoom(Direction direction);
  // Resets the remaining connections and ends the loop. Thread-safe.
  void Stop();
  // Waits for the end of the loop. The destructor does both, too.
  void Join();

  // Sockets that accept connections for this direction. Thread-safe.
  int listening(Direction direction) const {
    return listening_[static_cast<std::size_t>(direction)].load();
  }
  // The listening sockets. This worker owns them until it is told to close them.
  void AppendListeners(std::vector<int>& out) const;
  // Whether IPv6 connections are accepted. Thread-safe.
  bool has_ipv6() const { return has_ipv6_; }

 private:
  struct Listener {
    UniqueFd fd;
    Family family = Family::kIpv4;
    Direction direction = Direction::kOutbound;
    bool transparent = false;
    // Connections to accept per turn. One while they come singly, so that no accept4(2) is spent on
    // finding the queue empty; doubled while they keep coming.
    int budget = 1;
    std::uint64_t last_turn = 0;
    bool closing = false;
  };

  void Run();
  void AddListener(Family family, Direction direction);
  bool IsTransparent(Direction direction) const;
  void Serve(GivenListener given);
  void Dispatch(std::uint64_t tag, std::uint32_t events);
  void ObeyCommands();
  void AnswerSnapshots();
  void Wake();
  // Waits for events; sets the time of this turn.
  int Wait(std::span<epoll_event> events);
  int WaitMillis(std::uint64_t now) const;
  std::uint64_t TicksAt(std::chrono::steady_clock::time_point time) const {
    return static_cast<std::uint64_t>((time - epoch_) / kTick);
  }
  std::uint64_t NowTicks() const { return TicksAt(std::chrono::steady_clock::now()); }

  // Accepting, in worker_accept.cc.
  void OnArrivals(Listener& listener);
  // Accepts up to `limit` connections. Returns how many.
  int Accept(Listener& listener, int limit);
  void Admit(const Listener& listener, int fd, const SocketAddress& peer);
  // Why there is no place for another connection from `client`, when `leaving` of those that there
  // are will soon be gone; nothing when there is one.
  std::optional<Failure> Shortage(Direction direction, const IpAddress& client,
                                  std::uint64_t leaving = 0) const;
  // Drops the connect that has waited longest when too many are waiting.
  void MakeRoomToConnect(Direction direction);
  // False: none of this worker's connections waits.
  bool DropOldestPending(Direction direction);
  // How many wait that nobody has asked to drop. Thread-safe.
  std::uint64_t Droppable(Direction direction) const;
  // Has another worker drop one, soon. False: nobody has any.
  bool AskOthersForRoom(Direction direction) const;
  void GiveRoom();
  void Refuse(const Listener& listener, UniqueFd fd, const SocketAddress& peer,
              const SocketAddress& original, Failure failure, std::string_view flags);
  Admission AdmissionHere(const Arrival& arrival);
  // Whether the peer is one of this proxy's own sockets: its traffic has been captured.
  bool IsLoop(const SocketAddress& peer, const SocketAddress& original) const;
  void PauseAccepting(int error);
  void OnListenerTimer();
  void FinishClosing();
  // Closes this process's copies of sockets that another proxy serves.
  void LeaveListeners();

  void ListenFor(std::uint32_t events);
  void SweepClosed();
  void HandOverLog();

  const WorkerShared& shared_;
  const int index_;
  UniqueFd epoll_;
  UniqueFd wake_;
  // Closed for a moment when descriptors run out, to reset one client instead of letting it hang.
  UniqueFd spare_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::unique_ptr<RelayResources> relay_;
  const std::chrono::steady_clock::time_point epoch_;
  TimerWheel timers_;
  TimerNode listener_timer_;  // resumes accepting, or finishes closing
  TimerNode pipe_timer_;      // closes pipes; armed while some are idle
  SessionPool sessions_;
  WorkerContext context_;
  std::unique_ptr<IdSource> ids_;
  BusyPoll busy_poll_;
  std::chrono::steady_clock::time_point next_note_;  // of the history
  bool paused_ = false;
  std::chrono::steady_clock::time_point next_pause_warning_{};
  std::uint64_t turn_ = 0;
  std::vector<IpAddress> local_addresses_;
  std::chrono::steady_clock::time_point local_addresses_read_{};
  bool has_ipv6_ = true;
  std::atomic<int> listening_[2] = {0, 0};
  std::atomic<bool> close_requested_[2] = {false, false};
  std::atomic<std::uint64_t> asked_for_room_[2] = {0, 0};
  std::atomic<bool> stop_{false};
  std::mutex snapshots_mutex_;
  std::vector<std::promise<std::vector<ConnectionInfo>>> snapshots_;
  std::thread thread_;
};

}  // namespace sluice::proxy
