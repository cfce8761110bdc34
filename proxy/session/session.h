// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/socket_address.h"
#include "proxy/accept/client_counts.h"
#include "proxy/accept/own_sockets.h"
#include "proxy/accept/sockets.h"
#include "proxy/config.h"
#include "proxy/control/admin.h"
#include "proxy/http/exchange.h"
#include "proxy/mtls/mutual_tls.h"
#include "proxy/relay/layers.h"
#include "proxy/relay/relay.h"
#include "proxy/session/timer_wheel.h"
#include "proxy/sniff/sniff.h"
#include "proxy/stats.h"

namespace sluice::proxy {

class Session;
struct AccessRecord;

// The sessions of one worker and direction that are being set up, in the order in which they began.
// Not thread-safe.
class PendingSessions {
 public:
  void Append(Session& session);
  void Remove(Session& session);
  // nullptr when there is none.
  Session* oldest() const { return first_; }

 private:
  Session* first_ = nullptr;
  Session* last_ = nullptr;
};

// Sessions whose TLS handshake can go on. Those that have begun and those that have not take turns,
// each first come first served: when many come at once, handshakes are completed as fast as others
// begin, instead of all at the end. One in progress holds several times the memory of a complete
// one, and its peer waits. Not thread-safe.
class HandshakeQueue {
 public:
  void Append(Session& session, bool has_begun) { (has_begun ? begun_ : new_).push_back(&session); }
  std::size_t size() const { return new_.size() + begun_.size(); }
  bool empty() const { return size() == 0; }
  // Of a queue that is not empty.
  Session& Take();

 private:
  std::deque<Session*> new_;
  std::deque<Session*> begun_;
  bool new_is_next_ = false;
};

// One tick of a worker's timers. Coarse: what is timed here takes seconds.
inline constexpr std::chrono::milliseconds kTick{16};
// So many ticks are never early: part of the present one is over.
constexpr std::uint64_t Ticks(std::chrono::milliseconds time) {
  return static_cast<std::uint64_t>((time + kTick - std::chrono::milliseconds(1)) / kTick) + 1;
}

// A client that has its last answer may still be sending, and gets a reset if that comes to a
// socket that is closed: so long it is read, as HAProxy and nginx do.
inline constexpr std::chrono::seconds kLinger{5};

// What a worker gives to its sessions. Belongs to one thread.
struct WorkerContext {
  const ProxyConfig& config;
  WorkerStats& stats;
  int epoll_fd;
  RelayResources& relay;
  TimerWheel& timers;
  OwnSockets& own_sockets;
  // The time of this turn of the event loop, in ticks.
  std::uint64_t now_ticks = 0;
  // Sessions that have more to move, first come first served.
  std::vector<Session*> ready;
  // Sessions that are closed; events of this turn may still name them.
  std::vector<Session*> closed;
  // Null: no connection is mutual TLS.
  const MutualTls* mtls = nullptr;
  // A step of a handshake takes as long as hundreds of small messages, so that they have a queue of
  // their own.
  HandshakeQueue handshakes = {};
  std::array<PendingSessions, 2> pending = {};  // by direction
  // Of inbound sessions.
  ClientCounts clients = {};
  // Open sessions whose client has not been sent anything yet.
  std::size_t unanswered = 0;
  // Of the access log, from this turn; with no access log always empty.
  std::string log_lines = {};
  // Of requests and spans; null: connections are not looked at for HTTP.
  IdSource* ids = nullptr;
  // Whether a direction's connections should come to their end.
  std::array<bool, 2> draining = {};

  // Whether there is something to do without another event.
  bool HasWork() const { return !ready.empty() || !handshakes.empty(); }
};

// One proxied connection: in the handshake of mutual TLS, when that is asked for, connecting,
// relaying both ways, closed. It is as small as it can be, for
// there are thousands of idle ones: no buffer, no names, one timer link.
class Session : public TimerNode {
 public:
  enum class Side : std::uint8_t { kClient, kServer };

  Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Takes `client_fd` over and starts to connect to the upstream, or to find out who the client is,
  // of whom the upstream hears nothing before that. May be closed on return.
  // `transparent`: connects from the client's own address (TPROXY mode).
  // 0, or errno when descriptors or memory have run out, so that no more should be accepted now.
  int Open(WorkerContext& worker, Direction direction, int client_fd, const SocketAddress& peer,
           const SocketAddress& original, bool transparent);

  // Leads the bytes through `layers`, which begin with the first byte. After Open and before
  // anything is relayed; without it the connection is plain. The transports use the session's
  // sockets, client_fd() and server_fd(), and are deleted before these are closed.
  void Use(std::unique_ptr<Layers> layers);
  int client_fd() const { return client_.fd; }
  int server_fd() const { return server_.fd; }

  // `events` as epoll_wait(2) reports them. Moves little: what is more waits in
  // WorkerContext::ready.
  void OnEvents(WorkerContext& worker, Side side, std::uint32_t events);
  void OnTimer(WorkerContext& worker);
  // Goes on after Progress::kAgain.
  void Continue(WorkerContext& worker);
  // The next step of the TLS handshake.
  void ContinueHandshake(WorkerContext& worker);
  // Ends the connection with a reset to both sides.
  void Abort(WorkerContext& worker, Failure failure);

  ConnectionInfo Info(const WorkerContext& worker) const;

  bool open() const { return state_ != State::kClosed; }
  // In WorkerContext::ready or handshakes.
  bool queued() const { return queued_; }
  void set_queued(bool queued) { queued_ = queued; }

 private:
  friend class PendingSessions;
  // kBroken: one side is gone, and what had come from it is on its way to the other.
  enum class State : std::uint8_t {
    kClosed,
    kDetecting,  // whether the client speaks mutual TLS
    kHandshaking,
    kConnecting,
    kRelaying,
    kBroken,
  };

  bool Watch(WorkerContext& worker, const Endpoint& endpoint, Side side);
  bool WatchClient(WorkerContext& worker);
  // Remembers the socket that goes to `upstream`; false when it turns out that the connection is in
  // a loop.
  bool KnowOwnSocket(WorkerContext& worker, const SocketAddress& upstream);
  // 0, or errno as Open has it.
  int Connect(WorkerContext& worker);
  // Mutual TLS, in session_tls.cc: with the client before the application is connected to, with the
  // server before a byte is relayed.
  MtlsInbound Asked(const WorkerContext& worker) const;
  int BeginDetection(WorkerContext& worker);
  void Detect(WorkerContext& worker);
  void PermitPlaintext(WorkerContext& worker);
  // Says what protects the connection, from where on it is counted; once.
  void Decide(WorkerContext& worker, Security security);
  int BeginClientHandshake(WorkerContext& worker);
  // Who has to answer; null: whoever does.
  std::shared_ptr<const OutboundPeer> ExpectedServer(const WorkerContext& worker) const;
  void BeginServerHandshake(WorkerContext& worker, std::shared_ptr<const OutboundPeer> expected);
  bool UseTls(const WorkerContext& worker, int fd, tls::Stream::Options options);
  void OnHandshakeEvent(WorkerContext& worker, Side side);
  void QueueHandshake(WorkerContext& worker);
  // Null when the connection is not mutual TLS.
  tls::Stream* TlsStream() const;
  // The server does not let us in, which it says behind our part of the handshake.
  bool IsRefusedByServer() const;
  bool IsBeingSetUp() const { return state_ >= State::kDetecting && state_ <= State::kConnecting; }
  // What the texts of a record are views of.
  struct Reasons {
    std::string transport;
    std::string details;
    std::string tls;
    std::string cluster;
  };
  void DescribeTls(AccessRecord& record, Reasons& reasons) const;
  std::string_view StateName() const;
  void BeginPending(WorkerContext& worker);
  void EndPending(WorkerContext& worker);
  void OnConnected(WorkerContext& worker);
  void BeginRelaying(WorkerContext& worker);
  void FailConnect(WorkerContext& worker, int error, bool immediately);
  void Relay(WorkerContext& worker);
  // Runs one direction; true when the session has been closed by it.
  bool RunFlow(WorkerContext& worker, Flow& flow, Endpoint& from, Endpoint& to, const Flow& other);
  // Moves what there is to move of one direction, and counts it.
  Progress Move(WorkerContext& worker, Flow& flow, Endpoint& from, Endpoint& to);
  // One side is gone: what had come from it is delivered before the other one is reset.
  void OnBroken(WorkerContext& worker, Side side, int error);
  void DeliverTheRest(WorkerContext& worker);
  bool HasTransport(const Endpoint& endpoint) const {
    return layers_ && (&endpoint == &client_ ? layers_->client : layers_->server) != nullptr;
  }
  // The same through layers_, which it drops when no layer is left.
  Progress MoveLayered(WorkerContext& worker, Flow& flow, Endpoint& from, Endpoint& to, Tap tap);
  // HTTP/1, in session_http.cc. False: there is no memory.
  bool UseHttp(WorkerContext& worker);
  // The client gets an answer of HTTP instead of a reset, when it asks or has asked for one.
  bool RefuseOverHttp(WorkerContext& worker, Failure failure);
  bool AnswerInsteadOfServer(WorkerContext& worker);
  bool AnswerTimeout(WorkerContext& worker);
  // After bytes were moved: takes what the exchange says.
  void SettleHttp(WorkerContext& worker);
  void CountHttpFinds(WorkerContext& worker);
  void LookAtHttpTimer(WorkerContext& worker);
  // The destination is not needed any more, though the client is.
  void CutServer(WorkerContext& worker);
  void CloseHttp(WorkerContext& worker);
  void LogRequests(WorkerContext& worker);
  std::string ClientCertificate() const;
  void Requeue(WorkerContext& worker);
  void Close(WorkerContext& worker);
  AccessRecord Describe(const WorkerContext& worker, Reasons& reasons) const;
  void Log(WorkerContext& worker);
  SocketAddress Upstream(const WorkerContext& worker) const;
  std::optional<Source> UpstreamSource(const WorkerContext& worker,
                                       const SocketAddress& upstream) const;
  std::uint64_t IdleTicks(const WorkerContext& worker) const;

  Flow request_;   // client to server
  Flow response_;  // server to client
  Sniffer sniffer_;
  Endpoint client_;
  Endpoint server_;
  std::unique_ptr<HttpExchange> http_;  // null: not HTTP, or not looked for; layers_ use it
  std::unique_ptr<Layers> layers_;      // null: both ends are plain, and no stage holds bytes
  Session* pending_before_ = nullptr;
  Session* pending_after_ = nullptr;
  SocketAddress peer_;
  SocketAddress original_;
  SocketAddress upstream_local_;
  std::int64_t start_unix_ms_ = 0;
  std::chrono::steady_clock::time_point start_{};
  std::uint64_t active_tick_ = 0;  // when bytes were last moved
  State state_ = State::kClosed;
  Direction direction_ = Direction::kOutbound;
  Failure failure_ = Failure::kCount;    // kCount: ended well
  std::uint16_t error_ = 0;              // errno of what broke the connection
  Side broken_side_ = Side::kClient;     // in State::kBroken
  std::uint32_t undelivered_bytes_ = 0;  // in State::kBroken: what the receiver has not confirmed
  bool queued_ = false;
  bool client_watched_ = false;
  bool mutual_tls_ = false;  // an end of layers_ is a TlsTransport
  bool decided_ = false;     // what security_ is
  Security security_ = Security::kUnknown;
  bool heard_ = false;    // that end's peer has sent something
  bool shaking_ = false;  // its handshake has had a step
  bool transparent_ = false;
  bool failed_at_once_ = false;  // the connect, without waiting
  bool connected_ = false;
  bool answered_ = false;       // the client has been sent something
  bool sends_at_once_ = false;  // TCP_NODELAY is set towards the server
  bool kept_alive_ = false;     // keep-alive is set towards the server
  bool cut_ = false;            // CutServer was called
  bool refused_ = false;        // there is no server: RefuseOverHttp was called
  bool finds_counted_ = false;  // HTTP/2 or a tunnel
};

// Lets the sessions of WorkerContext::ready move bytes in turn, until one turn's worth is moved;
// the rest of them stay for the next turn, behind those who have little to say.
void ServeReady(WorkerContext& worker);

// One step of one handshake. A worker has events in between, and those who relay their turn: a
// thousand clients that begin one and go no further delay nobody by more than a step.
void ServeHandshake(WorkerContext& worker);

}  // namespace sluice::proxy
