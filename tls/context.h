// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <memory>

#include "tls/credentials.h"

// SSL_CTX of OpenSSL.
struct ssl_ctx_st;

namespace sluice::tls {

// What the streams of one version of the credentials have in common: TLS 1.3 alone, both ends with
// a certificate, each stream with keys of its own (no resumption and no early data, so that whoever
// may no longer come in is asked at every connection). Never changed; may be used by several
// threads at once.
class Context {
 public:
  using Clock = Credentials::Time (*)();

  // `clock` is what certificates are judged by; null is the system's. Throws Error(kFailed).
  explicit Context(std::shared_ptr<const Credentials> credentials, Clock clock = nullptr);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  const Credentials& credentials() const { return *credentials_; }
  Credentials::Time Now() const;

  // For Stream.
  ssl_ctx_st* handle() const { return handle_; }

 private:
  const std::shared_ptr<const Credentials> credentials_;
  const Clock clock_;
  ssl_ctx_st* handle_;
};

}  // namespace sluice::tls
