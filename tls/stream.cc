// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "tls/stream.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <exception>
#include <new>
#include <optional>
#include <utility>

#include "tls/judge_peer.h"
#include "tls/openssl.h"
#include "tls/socket_bio.h"

namespace sluice::tls {
namespace {

using UniqueSsl = std::unique_ptr<SSL, FreeWith<SSL_free>>;

std::string LibraryReason() {
  const unsigned long code = ERR_peek_last_error();
  switch (ERR_GET_REASON(code)) {
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_WRONG_VERSION_NUMBER:
      return std::string(kNoTls);
    default:
      break;
  }
  const char* const reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  return reason != nullptr ? std::string("TLS: ") + reason : "TLS failed";
}

}  // namespace

struct Stream::State {
  State(std::shared_ptr<const Context> shared, int fd, Options options)
      : context(std::move(shared)), allowed(std::move(options.allowed)) {
    socket.fd = fd;
    UniqueBio bio = MakeSocketBio(socket);
    ssl.reset(SSL_new(context->handle()));
    if (!ssl) throw std::bad_alloc();
    SSL* const handle = ssl.get();
    // Both directions; SSL_free frees it once.
    BIO* const both = bio.release();
    SSL_set_bio(handle, both, both);
    SSL_set_app_data(handle, this);
    SSL_set_verify(handle, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    if (options.role == Role::kServer) {
      SSL_set_accept_state(handle);
      return;
    }
    SSL_set_connect_state(handle);
    if (!options.server_name.empty() &&
        SSL_set_tlsext_host_name(handle, options.server_name.c_str()) != 1) {
      throw std::bad_alloc();
    }
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { ERR_clear_error(); }

  void BeginCall() {
    // SSL_get_error looks at the queue, which may have older errors.
    ERR_clear_error();
    socket.BeginCall();
  }

  // The meaning of a call that returned `code` without success.
  Result Outcome(int code);
  Result Fail();
  void EndCall() { established = established || SSL_is_init_finished(ssl.get()) == 1; }
  // Remembers the result for all later Reads.
  Result Finally(const Result& result) {
    const bool over = result.status == Status::kEnded || result.status == Status::kFailed;
    if (over) final = Result{.status = result.status, .error = result.error};
    return result;
  }
  // Whether the peer is allowed; remembers who it is, or why not.
  bool Admit(X509_STORE_CTX* chain);

  const std::shared_ptr<const Context> context;
  const Allowed allowed;
  SocketState socket;
  UniqueSsl ssl;
  // Set from the certificate, before the peer has proven that it has the key: see Stream::peer.
  std::optional<SpiffeId> peer;
  bool established = false;
  bool refused = false;
  std::string why;
  bool why_is_errno = false;
  std::optional<Result> final;  // of Read
};

bool Stream::State::Admit(X509_STORE_CTX* chain) {
  PeerVerdict verdict = context->credentials().VerifyPeer(
      X509_STORE_CTX_get0_cert(chain), X509_STORE_CTX_get0_untrusted(chain), context->Now());
  if (!verdict.id) {
    why = "the peer's certificate: " + verdict.why;
    return false;
  }
  const auto matches = [&](const SpiffePattern& pattern) { return pattern.Matches(*verdict.id); };
  if (allowed != nullptr && std::ranges::none_of(*allowed, matches)) {
    why = "the peer is " + verdict.id->ToString() + ", which is not allowed";
    return false;
  }
  peer = std::move(verdict.id);
  return true;
}

int JudgePeer(X509_STORE_CTX* chain, void* /*unused*/) {
  const auto* const ssl =
      static_cast<SSL*>(X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx()));
  bool admitted = false;
  // No exception may pass through OpenSSL.
  try {
    admitted = Stream::Admit(SSL_get_app_data(ssl), chain);
  } catch (const std::exception&) {
    admitted = false;
  }
  // The peer is told handshake_failure. Details are for our log.
  X509_STORE_CTX_set_error(chain, admitted ? X509_V_OK : X509_V_ERR_APPLICATION_VERIFICATION);
  return admitted ? 1 : 0;
}

bool Stream::Admit(void* state, x509_store_ctx_st* chain) {
  return static_cast<State*>(state)->Admit(chain);
}

Stream::Result Stream::State::Fail() {
  Result result{.status = Status::kFailed, .took_input = socket.took_input, .error = EPROTO};
  std::string reason;
  // OpenSSL writes an alert after an unexpected end, and that may fail, too.
  if (socket.ended && socket.read_error == 0) {
    result.error = ECONNRESET;
    reason = established ? "the peer's stream was cut off: it has no close_notify"
                         : "the peer ended the connection during the TLS handshake";
  } else if (socket.read_error != 0 || socket.write_error != 0) {
    result.error = socket.read_error != 0 ? socket.read_error : socket.write_error;
    reason = std::strerror(result.error);
  } else {
    reason = LibraryReason();
    refused = refused || ERR_GET_REASON(ERR_peek_last_error()) > SSL_AD_REASON_OFFSET;
  }
  // The first reason stays, for others follow from it; but that a reset was in the way of a write
  // says less than the alert that came before it.
  const bool is_errno = result.error != EPROTO;
  if (why.empty() || (why_is_errno && !is_errno)) {
    why = std::move(reason);
    why_is_errno = is_errno;
  }
  return result;
}

Stream::Result Stream::State::Outcome(int code) {
  Result result{.took_input = socket.took_input};
  switch (SSL_get_error(ssl.get(), code)) {
    case SSL_ERROR_WANT_READ:
      result.status = socket.drained ? Status::kWaitsForInput : Status::kAgain;
      return result;
    case SSL_ERROR_WANT_WRITE:
      result.status = socket.full ? Status::kWaitsForRoom : Status::kAgain;
      return result;
    case SSL_ERROR_ZERO_RETURN:
      result.status = Status::kEnded;
      return result;
    default:
      return Fail();
  }
}

Stream::Stream(std::shared_ptr<const Context> context, int fd, Options options)
    : state_(std::make_unique<State>(std::move(context), fd, std::move(options))) {}
Stream::~Stream() = default;

Stream::Result Stream::Handshake() {
  State& state = *state_;
  if (state.final) return *state.final;
  state.BeginCall();
  const int code = SSL_do_handshake(state.ssl.get());
  state.EndCall();
  if (code == 1) return {.took_input = state.socket.took_input};
  return state.Finally(state.Outcome(code));
}

Stream::Result Stream::Read(std::span<char> into) {
  State& state = *state_;
  if (state.final) return *state.final;
  state.BeginCall();
  std::size_t got = 0;
  const int code = SSL_read_ex(state.ssl.get(), into.data(), into.size(), &got);
  state.EndCall();
  if (code == 1) return {.took_input = state.socket.took_input, .bytes = got};
  return state.Finally(state.Outcome(code));
}

Stream::Result Stream::Write(std::span<const char> from) {
  State& state = *state_;
  state.BeginCall();
  std::size_t done = 0;
  const int code = SSL_write_ex(state.ssl.get(), from.data(), from.size(), &done);
  state.EndCall();
  if (code == 1) return {.took_input = state.socket.took_input, .bytes = done};
  const Result result = state.Outcome(code);
  // Data sent before the peer went away may still be there; in a handshake there is none.
  return state.established ? result : state.Finally(result);
}

Stream::Result Stream::Shutdown() {
  State& state = *state_;
  state.BeginCall();
  // During a handshake, or a KeyUpdate, there is nothing to close.
  if (SSL_in_init(state.ssl.get()) == 1) {
    const int code = SSL_do_handshake(state.ssl.get());
    state.EndCall();
    if (code != 1) return state.Outcome(code);
  }
  const int code = SSL_shutdown(state.ssl.get());
  // 0: the peer's has not come yet; that is Read's concern.
  if (code >= 0) return {.took_input = state.socket.took_input};
  return state.Outcome(code);
}

bool Stream::established() const { return state_->established; }

const SpiffeId& Stream::own() const { return state_->context->credentials().id(); }

std::optional<Stream::PeerCertificate> Stream::peer_certificate() const {
  if (!state_->established) return std::nullopt;
  const X509* const certificate = SSL_get0_peer_certificate(state_->ssl.get());
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (certificate == nullptr || X509_digest(certificate, EVP_sha256(), digest.data(), &size) != 1) {
    return std::nullopt;
  }
  const UniqueBio text(BIO_new(BIO_s_mem()));
  PeerCertificate out;
  for (unsigned i = 0; i < size; ++i) {
    out.sha256_hex += "0123456789abcdef"[digest[i] >> 4];
    out.sha256_hex += "0123456789abcdef"[digest[i] & 15];
  }
  const X509_NAME* const name = X509_get_subject_name(certificate);
  if (text && X509_NAME_print_ex(text.get(), name, 0, XN_FLAG_RFC2253) >= 0) {
    char* data = nullptr;
    const long length = BIO_get_mem_data(text.get(), &data);
    if (length > 0) out.subject.assign(data, static_cast<std::size_t>(length));
  }
  return out;
}

const SpiffeId* Stream::peer() const {
  return state_->established && state_->peer ? &*state_->peer : nullptr;
}

const std::string& Stream::why() const { return state_->why; }
bool Stream::refused() const { return state_->refused; }

std::string_view Stream::version() const {
  const SSL* const ssl = state_->ssl.get();
  return SSL_get_current_cipher(ssl) != nullptr ? SSL_get_version(ssl) : "";
}

std::string_view Stream::server_name() const {
  const char* const name = SSL_get_servername(state_->ssl.get(), TLSEXT_NAMETYPE_host_name);
  return name != nullptr ? name : "";
}

std::string_view Stream::protocol() const {
  const unsigned char* name = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(state_->ssl.get(), &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

}  // namespace sluice::tls
