// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "base/unique_fd.h"
#include "proxy/http/exchange.h"
#include "proxy/relay/layers.h"
#include "proxy/relay/relay.h"

namespace sluice::proxy {

// Both directions of a connection as DrivenExchange has them, with flows, sockets and pipes.
class RelayedExchange {
 public:
  // `resources` outlives it.
  RelayedExchange(RewriteRules rules, RelayResources& resources, std::uint64_t seed = 1)
      : resources_(resources), ids_(seed), exchange(std::move(rules), ids_) {
    layers_.request.stage = exchange.RequestStage();
    layers_.response.stage = exchange.ResponseStage();
  }
  RelayedExchange(const RelayedExchange&) = delete;
  RelayedExchange& operator=(const RelayedExchange&) = delete;
  ~RelayedExchange() {
    request.Drop(resources_);
    response.Drop(resources_);
  }

  void FromClient(std::string_view bytes) { Send(client_, bytes); }
  void FromServer(std::string_view bytes) {
    if (!cut_) Send(server_, bytes);
  }
  void EndClient() { End(client_); }
  void EndServer() { End(server_); }
  const std::string& to_server() const { return server_.got; }
  const std::string& to_client() const { return client_.got; }
  bool cut() const { return cut_; }
  std::uint64_t request_passes() const { return layers_.request.passes; }
  std::uint64_t response_passes() const { return layers_.response.passes; }

 private:
  struct Side {
    UniqueFd ours;
    UniqueFd peer;
    Endpoint endpoint;
    std::string got = {};  // by the peer

    Side() {
      int fds[2] = {-1, -1};
      // Fails only when there are no descriptors; then nothing arrives, and the test fails.
      static_cast<void>(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds));
      ours.reset(fds[0]);
      peer.reset(fds[1]);
      endpoint = {.fd = fds[0], .readable = false, .writable = true};
    }
    bool Drain() {
      char bytes[16384];
      bool any = false;
      for (ssize_t size = 0; (size = ::recv(peer.get(), bytes, sizeof(bytes), 0)) > 0;) {
        got.append(bytes, static_cast<std::size_t>(size));
        any = true;
      }
      endpoint.writable = true;
      return any;
    }
  };

  void Send(Side& from, std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(from.peer.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent > 0) bytes.remove_prefix(static_cast<std::size_t>(sent));
      // Nobody takes the rest.
      if (!Settle() && sent <= 0) return;
    }
  }
  void End(Side& from) {
    ::shutdown(from.peer.get(), SHUT_WR);
    from.endpoint.hangup = true;
    Settle();
  }

  bool Run(Flow& flow, Side& from, Side& to, const Hops& hops) {
    if (flow.error() != 0 || flow.finished()) return false;
    from.endpoint.readable = !cut_ || &from == &client_;
    const bool had_ended = flow.ended();
    const std::uint64_t before = flow.bytes_read();
    if (hops.plain()) {
      flow.Run(from.endpoint, to.endpoint, resources_);
    } else {
      flow.RunLayered(from.endpoint, to.endpoint, hops, resources_);
    }
    return flow.bytes_read() != before || flow.ended() != had_ended;
  }
  bool Settle() {
    bool ever = false;
    for (bool any = true; any; ever = ever || any) {
      any = Run(request, client_, server_, layers_.RequestHops());
      any = Run(response, server_, client_, layers_.ResponseHops()) || any;
      any = server_.Drain() || any;
      any = client_.Drain() || any;
      if (exchange.has_done_with_server() && !cut_) {
        cut_ = any = true;
        request.Drop(resources_);
        if (layers_.request.stage) exchange.CutRequest(std::exchange(layers_.request.passes, 0));
      }
    }
    return ever;
  }

  RelayResources& resources_;
  IdSource ids_;
  Side client_;
  Side server_;
  bool cut_ = false;

 public:
  HttpExchange exchange;

 private:
  Layers layers_;  // its stages use the exchange

 public:
  Flow request;
  Flow response;
};

}  // namespace sluice::proxy
