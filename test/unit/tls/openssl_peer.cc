// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "test/unit/tls/openssl_peer.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>

namespace sluice::tls {

std::shared_ptr<const std::vector<SpiffePattern>> Patterns(const std::vector<std::string>& texts) {
  std::vector<SpiffePattern> out;
  for (const std::string& text : texts) out.push_back(SpiffePattern::Parse(text));
  return std::make_shared<const std::vector<SpiffePattern>>(std::move(out));
}

std::shared_ptr<const Context> MakeContext(const TestIdentity& identity, const std::string& roots,
                                           Records records) {
  namespace fs = std::filesystem;
  std::string name = (fs::temp_directory_path() / "sluice-mtls.XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
  const fs::path directory = name;
  std::ofstream(directory / "tls.crt") << identity.Pem();
  std::ofstream(directory / "tls.key") << identity.KeyPem();
  std::ofstream(directory / "ca.crt") << roots;
  auto credentials = Credentials::Load({.directory = name, .bundles = {}}, kTestNow);
  fs::remove_all(directory);
  return std::make_shared<const Context>(
      std::move(credentials), [] { return kTestNow; },
      records == Records::kKernel ? OldestTls::k12 : OldestTls::k13, records);
}

OpenSslPeer::OpenSslPeer(int fd, const Habits& habits) : context_(SSL_CTX_new(TLS_method())) {
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  // OpenSSL writes without MSG_NOSIGNAL.
  std::signal(SIGPIPE, SIG_IGN);
  SSL_CTX* const context = context_.get();
  SSL_CTX_set_min_proto_version(context, habits.version);
  SSL_CTX_set_max_proto_version(context, habits.version);
  if (!habits.cipher.empty()) SSL_CTX_set_ciphersuites(context, habits.cipher.c_str());
  SSL_CTX_set_num_tickets(context, static_cast<std::size_t>(habits.tickets));
  SSL_CTX_set_security_level(context, 0);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_verify(
      context, SSL_VERIFY_PEER,
      habits.refuses ? [](int, X509_STORE_CTX*) { return 0; }
                     : [](int, X509_STORE_CTX*) { return 1; });
  // Else a server gives no tickets to clients with certificates.
  SSL_CTX_set_session_id_context(context, reinterpret_cast<const unsigned char*>("peer"), 4);
  if (habits.identity != nullptr) {
    SSL_CTX_use_certificate(context, habits.identity->certificate.get());
    SSL_CTX_use_PrivateKey(context, habits.identity->key.get());
    const UniqueBio bio(
        BIO_new_mem_buf(habits.issuers.data(), static_cast<int>(habits.issuers.size())));
    while (X509* issuer = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
      SSL_CTX_add0_chain_cert(context, issuer);
    }
    ERR_clear_error();
  }
  if (!habits.alpn.empty()) {
    SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>(habits.alpn.data()),
                            static_cast<unsigned int>(habits.alpn.size()));
  }
  if (habits.fragment_bytes > 0) SSL_CTX_set_max_send_fragment(context, habits.fragment_bytes);
  if (habits.padding_bytes > 0) {
    SSL_CTX_set_block_padding(context, static_cast<std::size_t>(habits.padding_bytes));
  }
  ssl_.reset(SSL_new(context));
  SSL_set_fd(ssl_.get(), fd);
  if (habits.server) {
    SSL_set_accept_state(ssl_.get());
  } else {
    SSL_set_connect_state(ssl_.get());
  }
}

void OpenSslPeer::Note(int code) {
  switch (SSL_get_error(ssl_.get(), code)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      return;
    case SSL_ERROR_ZERO_RETURN:
      got_end = true;
      return;
    default:
      const char* const reason = ERR_reason_error_string(ERR_peek_error());
      error = reason == nullptr ? "system call" : reason;
  }
}

void OpenSslPeer::Play() {
  if (!error.empty()) return;
  ERR_clear_error();
  if (!established()) {
    const int code = SSL_do_handshake(ssl_.get());
    if (const char* name = SSL_get_servername(ssl_.get(), TLSEXT_NAMETYPE_host_name)) {
      server_name = name;
    }
    if (code != 1) return Note(code);
  }
  while (!to_send.empty()) {
    ERR_clear_error();
    const int sent = SSL_write(ssl_.get(), to_send.data(), static_cast<int>(to_send.size()));
    if (sent <= 0) {
      Note(sent);
      break;
    }
    to_send.erase(0, static_cast<std::size_t>(sent));
  }
  if (to_send.empty() && ends && !sent_end) {
    ERR_clear_error();
    sent_end = SSL_shutdown(ssl_.get()) >= 0;
  }
  while (reads && !got_end && error.empty()) {
    char buffer[16384];
    ERR_clear_error();
    const int got = SSL_read(ssl_.get(), buffer, sizeof(buffer));
    if (got <= 0) {
      Note(got);
      break;
    }
    received.append(buffer, static_cast<std::size_t>(got));
  }
  ERR_clear_error();
}

}  // namespace sluice::tls
