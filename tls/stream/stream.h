// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tls/context.h"
#include "tls/spiffe_id.h"

// SSL and X509_STORE_CTX of OpenSSL.
struct ssl_st;
struct x509_store_ctx_st;

namespace sluice::tls {

// The ALPN protocol of Istio's proxies for mutual TLS around any application protocol. Their other
// names, such as istio-peer-exchange, promise more than that.
inline constexpr std::string_view kAlpnProtocol = "istio";

// What Stream::why says of a peer whose first bytes are something else than TLS.
inline constexpr std::string_view kNoTls = "the peer does not speak TLS";

// One end of a mutual TLS connection over a non-blocking socket that somebody else owns and
// watches, edge-triggered. Any call begins the handshake or goes on with it, and may read as well
// as write the socket. No byte of the application leaves, and none is given out, before the peer
// has shown who it is and is allowed.
//
// A peer's stream ends with close_notify. Any other end may be a truncation by an attacker: it is a
// failure, ECONNRESET.
//
// Holds at most one record to send, and what one recv(2) has taken: a record, or 64 KiB of a bulk
// transfer; none of the caller's buffers. No function throws. The destructor does not touch the
// socket. Used by one thread at a time.
class Stream {
 public:
  enum class Role : std::uint8_t { kClient, kServer };

  // The same values in the same order as in proxy::Transport.
  enum class Status : std::uint8_t {
    kDone,           // Read and Write: `bytes` were moved, at least one
    kAgain,          // there may be more to do; nothing to wait for
    kWaitsForInput,  // the socket is drained
    kWaitsForRoom,   // the socket is full
    kEnded,          // Read: the peer has sent close_notify
    kFailed,         // `error` is an errno, and why() has details
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
    // One of them must match the peer's name. Null: every peer with a verified name is allowed. An
    // empty list: none.
    Allowed allowed = nullptr;
    // For a client: the name to ask for (SNI); may be empty.
    std::string server_name = {};
  };

  // Throws std::bad_alloc.
  Stream(std::shared_ptr<const Context> context, int fd, Options options);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Does only the handshake. kDone: it is complete, and peer() is set.
  Result Handshake();
  // kEnded and kFailed are final. After a failed Write, data that came before can still be read.
  Result Read(std::span<char> into);
  // Takes bytes from the front of `from`. Bytes taken are in the socket; if it waits,
  // call again with the same bytes in front.
  Result Write(std::span<const char> from);
  // Sends close_notify. Reading continues. Do not call Write any more.
  Result Shutdown();
  // The kernel has the keys, and encrypts and decrypts: Records::kKernel.
  bool in_kernel() const;
  // With them, bytes that Write has taken and that are not in the socket yet, so that they would be
  // lost if it were closed. Shutdown waits for them.
  std::size_t Unsent() const;

  // The handshake is complete and the peer is allowed.
  bool established() const;
  // The peer's identity; null before the handshake is complete.
  const SpiffeId* peer() const;
  // The peer's certificate, for those who were not there. Nothing before the handshake is complete.
  struct PeerCertificate {
    std::string sha256_hex;  // of its DER form
    std::string subject;     // as in RFC 2253; may be empty
  };
  std::optional<PeerCertificate> peer_certificate() const;
  // Our own name.
  const SpiffeId& own() const;
  // "TLSv1.3"; empty before it is known.
  std::string_view version() const;
  // The name that the client asks for (SNI); empty if it asks for none, or that is not known yet.
  // From a client it is any bytes.
  std::string_view server_name() const;
  // The negotiated ALPN protocol; empty if none.
  std::string_view protocol() const;
  // The reason for kFailed: "unknown trust domain other.example".
  const std::string& why() const;
  // The peer has ended the connection with an alert: most likely it does not let us in, which a
  // client hears behind its handshake only.
  bool refused() const;

 private:
  friend int JudgePeer(x509_store_ctx_st* chain, void* unused);
  friend void KeepSecret(const ssl_st* ssl, const char* line);
  struct State;

  static bool Admit(void* state, x509_store_ctx_st* chain);
  static void Keep(void* state, std::string_view line);

  std::unique_ptr<State> state_;
};

}  // namespace sluice::tls
