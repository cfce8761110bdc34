// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <openssl/ssl.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "test/unit/tls/test_authority.h"
#include "tls/context.h"
#include "tls/spiffe_id.h"

namespace sluice::tls {

// Patterns as the command line has them.
std::shared_ptr<const std::vector<SpiffePattern>> Patterns(const std::vector<std::string>& texts);

// What a Context is made of, at kTestNow: the certificate of `identity`, its issuers beside the
// root in `intermediates`, and the roots of its domain in PEM form.
std::shared_ptr<const Context> MakeContext(const TestIdentity& identity, const std::string& roots);

// The other end: OpenSSL as any program uses it, over a socket of its own, which it makes
// non-blocking. It takes whatever certificate it is shown.
class OpenSslPeer {
 public:
  struct Habits {
    bool server = true;
    const TestIdentity* identity = nullptr;  // null: a client without a certificate
    std::string issuers = {};                // sent after it, in PEM form
    std::string alpn = {};                   // as in TLS: each with its length in front
    int version = TLS1_3_VERSION;
    int tickets = 2;         // that a server sends
    int fragment_bytes = 0;  // of a record, at most; 0 is as many as TLS allows
    int padding_bytes = 0;   // records are made a multiple of so many bytes
    bool refuses = false;    // whatever certificate it is shown
  };

  OpenSslPeer(int fd, const Habits& habits);

  // Does what can be done now: the handshake, then sending `to_send` and afterwards the end, when
  // it is wanted, and receiving.
  void Play();

  std::string to_send;
  bool ends = false;  // close_notify follows the last byte of to_send
  bool reads = true;

  std::string received;
  bool got_end = false;   // close_notify
  bool sent_end = false;  // close_notify
  std::string error;      // why nothing goes on

  bool established() const { return SSL_is_init_finished(ssl_.get()) == 1; }
  SSL* ssl() const { return ssl_.get(); }
  std::string server_name;  // that a client has asked for

 private:
  void Note(int code);

  std::unique_ptr<SSL_CTX, FreeWith<SSL_CTX_free>> context_;
  std::unique_ptr<SSL, FreeWith<SSL_free>> ssl_;
};

}  // namespace sluice::tls
