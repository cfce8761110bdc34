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
#include "proxy/session/worker_context.h"
#include "proxy/sniff/sniff.h"
#include "proxy/stats.h"

namespace sluice::proxy {

struct AccessRecord;

// A client that has its last answer may still be sending. If that reaches a closed socket, the
// client gets a reset, perhaps before it has read the answer; so we go on reading for this long, as
// HAProxy and nginx do.
inline constexpr std::chrono::seconds kLinger{5};

// One proxied connection. It is in the handshake of mutual TLS (if asked for), connecting, relaying
// both ways, or closed. There may be thousands of idle ones, so it is kept small: no buffer, no
// names, one timer link.
class Session : public TimerNode {
 public:
  enum class Side : std::uint8_t { kClient, kServer };

  Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Takes ownership of `client_fd`, and starts to connect to the upstream. If mutual TLS is asked
  // for, the client must first show who it is. The session may be closed on return.
  // `transparent`: connects from the client's own address (TPROXY mode).
  // Returns 0, or an errno if descriptors or memory have run out: then nothing more should be
  // accepted for now.
  int Open(WorkerContext& worker, Direction direction, int client_fd, const SocketAddress& peer,
           const SocketAddress& original, bool transparent);

  // Sends all bytes through `layers`. To be called after Open and before anything is relayed; if it
  // is not, the connection is plain. The transports use client_fd() and server_fd(), and are
  // deleted before these are closed.
  void Use(std::unique_ptr<Layers> layers);
  int client_fd() const { return client_.fd; }
  int server_fd() const { return server_.fd; }

  // `events` as epoll_wait(2) reports them. Moves only a little; a session with more to move waits
  // in WorkerContext::ready.
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
  // Remembers the socket to `upstream`. False if the connection turns out to be a loop.
  bool KnowOwnSocket(WorkerContext& worker, const SocketAddress& upstream);
  // 0, or errno as Open has it.
  int Connect(WorkerContext& worker);
  // Mutual TLS, in session_tls.cc: with the client before the application is connected to, with the
  // server before a byte is relayed.
  MtlsInbound Asked(const WorkerContext& worker) const;
  int BeginDetection(WorkerContext& worker);
  void Detect(WorkerContext& worker);
  void PermitPlaintext(WorkerContext& worker);
  // Sets security_, and from then on counts the connection under it. Only the first call counts.
  void Decide(WorkerContext& worker, Security security);
  int BeginClientHandshake(WorkerContext& worker);
  // Who must answer the handshake; null if there is none.
  std::shared_ptr<const OutboundPeer> ExpectedServer(const WorkerContext& worker) const;
  void BeginServerHandshake(WorkerContext& worker, std::shared_ptr<const OutboundPeer> expected);
  bool UseTls(const WorkerContext& worker, int fd, tls::Stream::Options options);
  void OnHandshakeEvent(WorkerContext& worker, Side side);
  void QueueHandshake(WorkerContext& worker);
  // Null when the connection is not mutual TLS.
  tls::Stream* TlsStream() const;
  // With TLS 1.3 a server may refuse our certificate after our side of the handshake is done.
  bool IsRefusedByServer() const;
  bool IsBeingSetUp() const { return state_ >= State::kDetecting && state_ <= State::kConnecting; }
  // Owns the texts that an AccessRecord has views of.
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
  // Answers the client with an HTTP error instead of a reset, if it speaks HTTP.
  bool RefuseOverHttp(WorkerContext& worker, Failure failure);
  bool AnswerInsteadOfServer(WorkerContext& worker);
  bool AnswerTimeout(WorkerContext& worker);
  // After bytes were moved: takes what the exchange says.
  void SettleHttp(WorkerContext& worker);
  void CountHttpFinds(WorkerContext& worker);
  void LookAtHttpTimer(WorkerContext& worker);
  // Closes the connection to the destination, and keeps the client's.
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

}  // namespace sluice::proxy
