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

// Patterns as on the command line.
std::shared_ptr<const std::vector<SpiffePattern>> Patterns(const std::vector<std::string>& texts);

// Makes a Context at kTestNow: the certificate of `identity`, its issuers below the root in
// `intermediates`, and the roots of its domain in PEM.
std::shared_ptr<const Context> MakeContext(const TestIdentity& identity, const std::string& roots,
                                           Records records = Records::kLibrary);

// The other end: OpenSSL as ordinary programs use it, over its own socket, which it makes
// non-blocking. It accepts any certificate.
class OpenSslPeer {
 public:
  struct Habits {
    bool server = true;
    const TestIdentity* identity = nullptr;  // null: a client without a certificate
    std::string issuers = {};                // sent after it, in PEM
    std::string alpn = {};                   // wire format: each with a length prefix
    int version = TLS1_3_VERSION;
    std::string cipher = {};  // of TLS 1.3; empty: any
    int tickets = 2;          // that a server sends
    int fragment_bytes = 0;   // of a record, at most; 0 is as many as TLS allows
    int padding_bytes = 0;    // records are made a multiple of so many bytes
    bool refuses = false;     // whatever certificate it is shown
  };

  OpenSslPeer(int fd, const Habits& habits);

  // Does what is possible now: the handshake, then sending `to_send` and, if requested, the end,
  // and receiving.
  void Play();

  std::string to_send;
  bool ends = false;  // close_notify follows the last byte of to_send
  bool reads = true;

  std::string received;
  bool got_end = false;   // close_notify
  bool sent_end = false;  // close_notify
  std::string error;      // why it cannot go on

  bool established() const { return SSL_is_init_finished(ssl_.get()) == 1; }
  SSL* ssl() const { return ssl_.get(); }
  std::string server_name;  // requested by a client

 private:
  void Note(int code);

  std::unique_ptr<SSL_CTX, FreeWith<SSL_CTX_free>> context_;
  std::unique_ptr<SSL, FreeWith<SSL_free>> ssl_;
};

}  // namespace sluice::tls
