// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <memory>

#include "tls/credentials.h"

// SSL_CTX of OpenSSL.
struct ssl_ctx_st;

namespace sluice::tls {

enum class OldestTls { k12, k13 };

// Shared by all streams with one version of the credentials: TLS 1.3 only unless TLS 1.2 is
// allowed, certificates at both ends, and new keys for each stream (no resumption or early data, so
// that every connection checks whether the peer is still allowed). Immutable; may be used by
// several threads at once.
class Context {
 public:
  using Clock = Credentials::Time (*)();

  // `clock` is used to check certificates; null means the system's. Throws Error(kFailed).
  explicit Context(std::shared_ptr<const Credentials> credentials, Clock clock = nullptr,
                   OldestTls oldest = OldestTls::k13);
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
