// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <memory>
#include <string>

#include "tls/credentials.h"

// SSL_CTX of OpenSSL.
struct ssl_ctx_st;

namespace sluice::tls {

enum class OldestTls { k12, k13 };

// Who encrypts and decrypts the records of established connections.
enum class Records {
  kLibrary,
  kKernel,  // kTLS, for each connection that it can do: else the library
};

// Why this kernel cannot (kKernel); empty if it can. Tries it with a connection over loopback. The
// kernel may be built without it, or the module may not be loaded, which an unprivileged process
// cannot change.
std::string WhyNoKernelRecords();

// Shared by all streams with one version of the credentials: TLS 1.3 only unless TLS 1.2 is
// allowed, certificates at both ends, and new keys for each stream (no resumption or early data, so
// that every connection checks whether the peer is still allowed). Immutable; may be used by
// several threads at once.
class Context {
 public:
  using Clock = Credentials::Time (*)();

  // `clock` is used to check certificates; null means the system's. Throws Error(kFailed).
  explicit Context(std::shared_ptr<const Credentials> credentials, Clock clock = nullptr,
                   OldestTls oldest = OldestTls::k13, Records records = Records::kLibrary);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  const Credentials& credentials() const { return *credentials_; }
  Credentials::Time Now() const;
  Records records() const { return records_; }

  // For Stream.
  ssl_ctx_st* handle() const { return handle_; }

 private:
  const std::shared_ptr<const Credentials> credentials_;
  const Clock clock_;
  const Records records_;
  ssl_ctx_st* handle_;
};

}  // namespace sluice::tls
