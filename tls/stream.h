// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tls/context.h"
#include "tls/spiffe_id.h"

// X509_STORE_CTX of OpenSSL.
struct x509_store_ctx_st;

namespace sluice::tls {

// The ALPN protocol by which proxies of Istio tell that they mean mutual TLS around whatever the
// application speaks. The others of theirs, such as istio-peer-exchange, promise more than that.
inline constexpr std::string_view kAlpnProtocol = "istio";

// What Stream::why says of a peer whose first bytes are something else than TLS.
inline constexpr std::string_view kNoTls = "the peer does not speak TLS";

// One end of a mutual TLS connection over a non-blocking socket that somebody else owns and
// watches, edge-triggered. Any call begins the handshake or goes on with it, and may read as well
// as write the socket. No byte of the application leaves, and none is given out, before the peer
// has shown who it is and is allowed.
//
// A peer's stream ends with close_notify. One that ends otherwise was cut off, maybe by somebody on
// the way: that is a failure, ECONNRESET.
//
// Holds a record of either direction at most, and nothing of what it was given. No function throws.
// The destructor does not touch the socket. Used by one thread at a time.
class Stream {
 public:
  enum class Role : std::uint8_t { kClient, kServer };

  // The same, in the same order, as proxy::Transport has them.
  enum class Status : std::uint8_t {
    kDone,           // Read and Write: `bytes` were moved, at least one
    kAgain,          // there may be more to do; nothing is waited for
    kWaitsForInput,  // the socket is drained
    kWaitsForRoom,   // the socket is full
    kEnded,          // of Read: the peer has sent close_notify
    kFailed,         // `error` is an errno, and why() says more
  };
  struct Result {
    Status status = Status::kDone;
    bool took_input = false;  // something was read from the socket
    int error = 0;
    std::size_t bytes = 0;
  };

  using Allowed = std::shared_ptr<const std::vector<SpiffePattern>>;

  struct Options {
    Role role = Role::kClient;
    // One of them has to match the peer's name. Null: everybody is welcome whose name is proven. An
    // empty list: nobody.
    Allowed allowed = nullptr;
    // Of a client: the name that it asks for (SNI); empty is none.
    std::string server_name = {};
  };

  // Throws std::bad_alloc.
  Stream(std::shared_ptr<const Context> context, int fd, Options options);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Does no more than the handshake. kDone: it is over, and peer() is who it is.
  Result Handshake();
  // kEnded and kFailed are final. What came before a failed Write can be read behind it.
  Result Read(std::span<char> into);
  // Takes up to one record from the front of `from`. What it has taken is in the socket; when it
  // waits it is called again with the same bytes in front.
  Result Write(std::span<const char> from);
  // Sends close_notify. Reading goes on. Write is not called any more.
  Result Shutdown();

  // The handshake is over and the peer is allowed.
  bool established() const;
  // Who the peer is; null before the handshake is over.
  const SpiffeId* peer() const;
  // "TLSv1.3"; empty before it is known.
  std::string_view version() const;
  // The ALPN protocol that both ends agreed upon; empty for none.
  std::string_view protocol() const;
  // What kFailed was about: "unknown trust domain other.example".
  const std::string& why() const;
  // The peer has ended the connection with an alert: most likely it does not let us in, which a
  // client hears behind its handshake only.
  bool refused() const;

 private:
  friend int JudgePeer(x509_store_ctx_st* chain, void* unused);
  struct State;

  static bool Admit(void* state, x509_store_ctx_st* chain);

  std::unique_ptr<State> state_;
};

}  // namespace sluice::tls
