// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "proxy/mtls/mtls_config.h"
#include "tls/context.h"
#include "tls/credential_store.h"
#include "tls/stream.h"

namespace sluice::proxy {

// What all workers share of mutual TLS: the credentials of now, which a thread of its own loads
// again when their files change, and who may do what. Connections keep what they began with.
// Thread-safe.
class MutualTls {
 public:
  // Throws sluice::Error when there is nothing to start with.
  explicit MutualTls(MtlsConfig config);
  ~MutualTls();
  MutualTls(const MutualTls&) = delete;
  MutualTls& operator=(const MutualTls&) = delete;

  // Looks at the files from here on, once a second. Throws std::system_error.
  void Start();
  // Looks at the files now, and says in the log what has come of it. Not while the thread runs.
  void Look();

  // For a connection that begins now.
  std::shared_ptr<const tls::Context> Context() const;

  // What is asked of an inbound connection to this port of the application.
  MtlsInbound Inbound(std::uint16_t port) const;
  // Who may come in.
  const tls::Stream::Allowed& allowed() const { return allowed_; }

  // For the metrics.
  struct Facts {
    std::int64_t expiry_unix_seconds = 0;  // of the own certificate
    std::uint64_t reloads = 0;             // that brought something new
    std::uint64_t failed_reloads = 0;
  };
  Facts facts() const;

 private:
  using FileState = std::array<std::int64_t, 6>;

  void Run();
  std::vector<FileState> FileStates() const;
  // Loads what is there; what is wrong with it is said when it has `settled`.
  void Reload(bool settled);
  void WarnOfExpiry();

  const MtlsConfig config_;
  const tls::Stream::Allowed allowed_;
  std::vector<std::string> watched_;
  std::vector<FileState> seen_;
  bool changed_lately_ = false;
  tls::CredentialStore store_;
  std::string last_failure_;
  // The certificate of which it was said that it ends soon, and that it has ended.
  std::int64_t ends_soon_ = 0;
  std::int64_t has_ended_ = 0;

  mutable std::mutex mutex_;
  std::shared_ptr<const tls::Context> context_;
  std::atomic<std::uint64_t> reloads_{0};
  std::atomic<std::uint64_t> failed_reloads_{0};
  UniqueFd stop_;
  std::thread thread_;
};

}  // namespace sluice::proxy
