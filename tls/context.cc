// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "tls/context.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "tls/openssl.h"
#include "tls/stream/callbacks.h"
#include "tls/stream/stream.h"

namespace sluice::tls {
namespace {

using UniqueContext = std::unique_ptr<SSL_CTX, FreeWith<SSL_CTX_free>>;

// The limit on a peer's certificates before it is verified: ten with a large RSA key.
constexpr long kMaxChainBytes = 32L * 1024;

// Each name with a length prefix (RFC 7301, section 3.1).
constexpr auto kAlpn = [] {
  std::array<unsigned char, 1 + kAlpnProtocol.size()> out{};
  out[0] = static_cast<unsigned char>(kAlpnProtocol.size());
  std::copy(kAlpnProtocol.begin(), kAlpnProtocol.end(), out.begin() + 1);
  return out;
}();

// Selects "istio" if the client offers it, otherwise nothing: istio-peer-exchange would mean
// speaking a protocol of Envoy's first.
int SelectAlpn(SSL* /*ssl*/, const unsigned char** out, unsigned char* out_size,
               const unsigned char* offered, unsigned int offered_size, void* /*context*/) {
  unsigned char* selected = nullptr;
  if (SSL_select_next_proto(&selected, out_size, kAlpn.data(), kAlpn.size(), offered,
                            offered_size) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_NOACK;
  }
  *out = selected;
  return SSL_TLSEXT_ERR_OK;
}

void Require(bool done, const char* what) {
  if (done) return;
  const char* reason = ERR_reason_error_string(ERR_peek_error());
  const std::string why = reason == nullptr ? "OpenSSL gives no reason" : reason;
  ERR_clear_error();
  throw Error(ErrorKind::kFailed, {.doing = what, .target = {}, .why = why, .help = {}});
}

}  // namespace

Context::Context(std::shared_ptr<const Credentials> credentials, Clock clock, OldestTls oldest,
                 Records records)
    : credentials_(std::move(credentials)), clock_(clock), records_(records), handle_(nullptr) {
  ERR_clear_error();
  UniqueContext context(SSL_CTX_new(TLS_method()));
  Require(context != nullptr, "set up TLS");
  SSL_CTX* const handle = context.get();
  const int least = oldest == OldestTls::k12 ? TLS1_2_VERSION : TLS1_3_VERSION;
  Require(SSL_CTX_set_min_proto_version(handle, least) == 1 &&
              SSL_CTX_set_max_proto_version(handle, TLS1_3_VERSION) == 1,
          "choose the versions of TLS");
  Require(SSL_CTX_set_ciphersuites(handle,
                                   "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                   "TLS_CHACHA20_POLY1305_SHA256") == 1 &&
              // Of TLS 1.2.
              SSL_CTX_set_cipher_list(handle, "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK") == 1 &&
              SSL_CTX_set1_groups_list(handle, "X25519:P-256") == 1,
          "choose the ciphers of TLS");
  SSL_CTX_set_session_cache_mode(handle, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(handle, 0);
  SSL_CTX_set_options(handle, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  // MOVING: the relay keeps the waiting bytes, and may copy them meanwhile. Without AUTO_RETRY a
  // read ends after one chunk from the socket (16 KiB), however many records without content are in
  // it.
  SSL_CTX_set_mode(handle, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                               SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
  SSL_CTX_clear_mode(handle, SSL_MODE_AUTO_RETRY);
  // Reads a record and its header with one recv(2).
  SSL_CTX_set_read_ahead(handle, 1);
  SSL_CTX_set_max_cert_list(handle, kMaxChainBytes);
  SSL_CTX_set_cert_verify_callback(handle, JudgePeer, nullptr);
  if (records == Records::kKernel) SSL_CTX_set_keylog_callback(handle, KeepSecret);
  // 0 is success, unlike OpenSSL's other functions.
  Require(SSL_CTX_set_alpn_protos(handle, kAlpn.data(), kAlpn.size()) == 0, "set up ALPN");
  SSL_CTX_set_alpn_select_cb(handle, SelectAlpn, nullptr);
  Require(credentials_->PresentIn(handle), "use the certificate and its key for TLS");
  handle_ = context.release();
}

Context::~Context() { SSL_CTX_free(handle_); }

Credentials::Time Context::Now() const {
  return clock_ != nullptr ? clock_() : std::chrono::system_clock::now();
}

}  // namespace sluice::tls
