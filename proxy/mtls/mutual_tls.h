// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/socket_address.h"
#include "base/unique_fd.h"
#include "proxy/mtls/file_watch.h"
#include "proxy/mtls/mtls_config.h"
#include "proxy/mtls/outbound_policy.h"
#include "tls/context.h"
#include "tls/credential_store.h"
#include "tls/stream/stream.h"

namespace sluice::proxy {

// What all workers share of mutual TLS: the credentials and the outbound rules of now, which a
// thread of its own loads again when their files change, and who may do what. Connections keep what
// they began with. Thread-safe.
class MutualTls {
 public:
  // Throws sluice::Error when there is nothing to start with.
  explicit MutualTls(MtlsConfig config);
  ~MutualTls();
  MutualTls(const MutualTls&) = delete;
  MutualTls& operator=(const MutualTls&) = delete;

  // From here on loads the files again when they change: looks at them when something happens to
  // them or, where that cannot be watched, once a second. Throws std::system_error.
  void Start();
  // Looks at the files now, and says in the log what has come of it. Not while the thread runs.
  void Look();

  // For a connection that begins now.
  std::shared_ptr<const tls::Context> Context() const;

  // What is asked of an inbound connection to this port of the application.
  MtlsInbound Inbound(std::uint16_t port) const;
  // Who may come in; null: everybody whose name is proven.
  const tls::Stream::Allowed& allowed() const { return allowed_; }
  // Who has to answer at this destination of an outbound connection, over mutual TLS; null when no
  // rule asks for it.
  std::shared_ptr<const OutboundPeer> Expected(const SocketAddress& destination) const;

  // For the metrics.
  struct Facts {
    std::int64_t expiry_unix_seconds = 0;  // of the own certificate
    struct Loads {
      std::uint64_t reloads = 0;  // that brought something new
      std::uint64_t failed = 0;
    };
    bool ktls = false;  // the kernel encrypts and decrypts
    Loads credentials = {};
    Loads outbound = {};
  };
  Facts facts() const;

 private:
  using FileState = std::array<std::int64_t, 6>;

  // Files that are loaded together.
  struct Watched {
    std::vector<std::string> paths;
    std::vector<FileState> seen = {};
    bool changed_lately = false;
    std::string last_failure = {};
    std::atomic<std::uint64_t> reloads{0};
    std::atomic<std::uint64_t> failed{0};

    explicit Watched(std::vector<std::string> all);
    std::vector<FileState> States() const;
    // To be looked at once more, although nothing has happened since.
    bool is_unsettled() const { return changed_lately || !last_failure.empty(); }
    Facts::Loads loads() const { return {.reloads = reloads, .failed = failed}; }
  };

  void Run();
  // Until there is a reason to look; false: it is the end. `watched`: changes are events.
  bool Wait(bool watched) const;
  // How long nothing needs to be done, unless a file changes.
  std::chrono::milliseconds Rest() const;
  // Calls `load` when the files may have changed. It returns why they cannot be used, or nothing;
  // `what` is what stays then.
  template <typename Load>
  void LookAt(Watched& files, const char* what, const Load& load);
  std::string LoadCredentials();
  std::shared_ptr<const tls::Context> MakeContext(
      std::shared_ptr<const tls::Credentials> credentials) const;
  std::string LoadOutbound();
  void WarnOfExpiry();

  const MtlsConfig config_;
  const std::string why_no_ktls_;  // empty: it is used
  const tls::Stream::Allowed allowed_;
  Watched credential_files_;
  Watched outbound_file_;
  FileWatch watch_;
  tls::CredentialStore store_;
  std::string outbound_text_;
  // The certificate of which it was said that it ends soon, and that it has ended.
  std::int64_t ends_soon_ = 0;
  std::int64_t has_ended_ = 0;

  mutable std::mutex mutex_;
  std::shared_ptr<const tls::Context> context_;
  std::shared_ptr<const OutboundPolicy> outbound_;
  UniqueFd stop_;
  std::thread thread_;
};

}  // namespace sluice::proxy
