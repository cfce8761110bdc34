// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "tls/stream/stream.h"

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

#include "tls/openssl.h"
#include "tls/stream/callbacks.h"
#include "tls/stream/kernel_records.h"
#include "tls/stream/socket_bio.h"
#include "tls/stream/ssl_facts.h"

namespace sluice::tls {
namespace {

using UniqueSsl = std::unique_ptr<SSL, FreeWith<SSL_free>>;

// What is read from the socket at once while it is full: four records. As with plain connections
// (RelayResources::kBufferBytes), a quarter of the calls make a GB cheaper by a tenth.
constexpr std::size_t kBulkReadBytes = 64 * 1024;

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
    if (context->records() == Records::kKernel) {
      secrets = std::make_unique<Secrets>();
      // Not a byte more than the handshake's is taken from the socket: the rest is the kernel's.
      SSL_set_read_ahead(handle, 0);
    }
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
    // SSL_get_error looks at the queue, which may have older errors. To clear it costs more.
    if (ERR_peek_last_error() != 0) ERR_clear_error();
    socket.BeginCall();
  }

  // The meaning of a call that returned `code` without success.
  Result Outcome(int code);
  Result Fail();
  void EndCall() { established = established || SSL_is_init_finished(ssl.get()) == 1; }
  // Goes on with the handshake, and then moves the records to the kernel if it can do that.
  Result Shake();
  Result MoveToKernel(bool took_input);
  // The same for a call that needs a complete handshake: what that call has to return if it is not.
  std::optional<Result> Settle(bool& took_input);
  // What a call of the kernel's records returned.
  Result FromKernel(const Result& result);
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
  UniqueSsl ssl;  // null when `kernel` is not
  // Until the handshake is complete; null if the kernel is not to have them.
  struct Secrets {
    TrafficSecret client;
    TrafficSecret server;
  };
  std::unique_ptr<Secrets> secrets;
  // What is left of `ssl` then.
  struct Kernel {
    KernelRecords records;
    std::string server_name;
    std::string protocol;
    std::optional<PeerCertificate> certificate;
  };
  std::unique_ptr<Kernel> kernel;
  // Set from the certificate, before the peer has proven that it has the key: see Stream::peer.
  std::optional<SpiffeId> peer;
  bool established = false;
  bool refused = false;
  bool reads_bulk = false;
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

void KeepSecret(const SSL* ssl, const char* line) { Stream::Keep(SSL_get_app_data(ssl), line); }

void Stream::Keep(void* state, std::string_view line) {
  State::Secrets* const secrets = static_cast<State*>(state)->secrets.get();
  if (secrets == nullptr) return;
  TrafficSecret* const secret = line.starts_with("CLIENT_TRAFFIC_SECRET_0 ")   ? &secrets->client
                                : line.starts_with("SERVER_TRAFFIC_SECRET_0 ") ? &secrets->server
                                                                               : nullptr;
  if (secret == nullptr) return;
  secret->Set(line.substr(line.rfind(' ') + 1));
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

Stream::Result Stream::State::Shake() {
  BeginCall();
  const int code = SSL_do_handshake(ssl.get());
  EndCall();
  if (code != 1) return Finally(Outcome(code));
  return secrets ? MoveToKernel(socket.took_input) : Result{.took_input = socket.took_input};
}

std::optional<Stream::Result> Stream::State::Settle(bool& took_input) {
  if (!secrets) return std::nullopt;
  const Result shaken = Shake();
  took_input = shaken.took_input;
  return shaken.status == Status::kDone ? std::nullopt : std::optional(shaken);
}

Stream::Result Stream::State::MoveToKernel(bool took_input) {
  const std::unique_ptr<Secrets> mine = std::move(secrets);
  SSL* const handle = ssl.get();
  const bool server = SSL_is_server(handle) == 1;
  Result result{.took_input = took_input};
  KernelRecords::Started started = KernelRecords::Started::kNo;
  if (SSL_has_pending(handle) == 0 && SSL_version(handle) == TLS1_3_VERSION) {
    try {
      auto next = std::make_unique<Kernel>();
      next->server_name = ServerName(handle);
      next->protocol = Protocol(handle);
      next->certificate = CertificateOf(handle);
      started = next->records.Start(socket.fd, server ? Role::kServer : Role::kClient,
                                    SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(handle)),
                                    server ? mine->server : mine->client,
                                    server ? mine->client : mine->server);
      if (started != KernelRecords::Started::kNo) kernel = std::move(next);
    } catch (const std::bad_alloc&) {
      // It needs less memory than the library, but not at first.
    }
  }
  if (!kernel) {
    SSL_set_read_ahead(handle, 1);
    return result;
  }
  ssl.reset();
  if (started == KernelRecords::Started::kBroken) {
    why = "TLS: the kernel has taken the keys of one direction only";
    result = Finally({.status = Status::kFailed, .took_input = took_input, .error = EPROTO});
  }
  return result;
}

Stream::Result Stream::State::FromKernel(const Result& result) {
  if (result.status == Status::kFailed) {
    // The first reason stays, as in Fail.
    if (why.empty()) why = kernel->records.why();
    refused = refused || kernel->records.refused();
  }
  return result;
}

Stream::Result Stream::Handshake() {
  State& state = *state_;
  if (state.final) return *state.final;
  return state.kernel ? Result{} : state.Shake();
}

Stream::Result Stream::Read(std::span<char> into) {
  State& state = *state_;
  if (state.final) return *state.final;
  bool took_input = false;
  if (const auto unfinished = state.Settle(took_input)) return *unfinished;
  if (state.kernel) {
    Result result = state.Finally(state.FromKernel(state.kernel->records.Read(into)));
    result.took_input = result.took_input || took_input;
    return result;
  }
  state.BeginCall();
  state.socket.took_input = took_input;
  std::size_t got = 0;
  const int code = SSL_read_ex(state.ssl.get(), into.data(), into.size(), &got);
  state.EndCall();
  // For the next buffer that OpenSSL takes, which is when this one is empty: one record, or several
  // of a bulk transfer with one recv(2).
  const bool bulk = state.socket.filled && into.size() >= kBulkReadBytes;
  if (bulk != state.reads_bulk && state.socket.took_input) {
    state.reads_bulk = bulk;
    SSL_set_default_read_buffer_len(state.ssl.get(), bulk ? kBulkReadBytes : 0);
  }
  if (code == 1) return {.took_input = state.socket.took_input, .bytes = got};
  return state.Finally(state.Outcome(code));
}

Stream::Result Stream::Write(std::span<const char> from) {
  State& state = *state_;
  bool took_input = false;
  if (const auto unfinished = state.Settle(took_input)) return *unfinished;
  if (state.kernel) {
    Result result = state.FromKernel(state.kernel->records.Write(from));
    result.took_input = took_input;
    return result;
  }
  state.BeginCall();
  state.socket.took_input = took_input;
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
  bool took_input = false;
  if (const auto unfinished = state.Settle(took_input)) return *unfinished;
  if (state.kernel) {
    Result result = state.FromKernel(state.kernel->records.Shutdown());
    result.took_input = took_input;
    return result;
  }
  state.BeginCall();
  state.socket.took_input = took_input;
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

bool Stream::in_kernel() const { return state_->kernel != nullptr; }

std::size_t Stream::Unsent() const { return state_->kernel ? state_->kernel->records.Unsent() : 0; }

bool Stream::established() const { return state_->established; }

const SpiffeId& Stream::own() const { return state_->context->credentials().id(); }

std::optional<Stream::PeerCertificate> Stream::peer_certificate() const {
  if (!state_->established) return std::nullopt;
  return state_->kernel ? state_->kernel->certificate : CertificateOf(state_->ssl.get());
}

const SpiffeId* Stream::peer() const {
  return state_->established && state_->peer ? &*state_->peer : nullptr;
}

const std::string& Stream::why() const { return state_->why; }
bool Stream::refused() const { return state_->refused; }

std::string_view Stream::version() const {
  if (state_->kernel) return "TLSv1.3";
  const SSL* const ssl = state_->ssl.get();
  return SSL_get_current_cipher(ssl) != nullptr ? SSL_get_version(ssl) : "";
}

std::string_view Stream::server_name() const {
  return state_->kernel ? state_->kernel->server_name : ServerName(state_->ssl.get());
}

std::string_view Stream::protocol() const {
  return state_->kernel ? state_->kernel->protocol : Protocol(state_->ssl.get());
}

}  // namespace sluice::tls
