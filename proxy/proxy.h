// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "dns/forwarder.h"
#include "proxy/config.h"
#include "proxy/control/admin.h"
#include "proxy/control/http_server.h"
#include "proxy/log/log_writer.h"
#include "proxy/mtls/mutual_tls.h"
#include "proxy/stats.h"
#include "proxy/worker.h"

namespace sluice::proxy {

// Throws sluice::Error naming the first relay or control port on which another process listens. The
// proxy's own sockets share their ports with other proxies of the same user, which is only wanted
// for a hand-over.
void CheckPortsAreFree(const ProxyConfig& config);

// The proxy: workers, access log and control path together. All threads that it starts have all
// signals blocked. One per process: it ignores SIGPIPE and raises the descriptor limit.
class Proxy {
 public:
  // Binds every port; starts no thread, so that the caller may drop privileges before Start.
  // `given` are listening sockets from a proxy that hands over; those for other ports are not used.
  // Throws sluice::Error; then nothing listens.
  explicit Proxy(ProxyConfig config, std::vector<UniqueFd> given = {});
  // Resets the remaining connections, flushes the log and ends all threads.
  ~Proxy();
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  // Begins to accept connections. Throws sluice::Error.
  void Start();

  // The listening sockets, to be handed over before Drain.
  std::vector<int> Listeners() const;
  // Whether another process has the same sockets: then Drain just closes them. Otherwise it also
  // refuses new connections, which would be the other process's. Thread-safe.
  void SetHandedOver(bool handed_over) { handed_over_ = handed_over; }

  // Begins to drain: no longer ready, no new inbound connections; open ones continue, and the
  // application may still open outbound connections, which it may need to finish its work.
  // Thread-safe.
  void Drain();

  // Whether the drain is complete: nothing is open and nothing is accepted any more. Call it now
  // and then while draining; it begins the next step when the previous one is done. From one thread
  // only.
  bool Drained();

  // Whether a client of the admin port has asked to drain. Then the descriptor is readable, for
  // poll(2). Thread-safe.
  bool drain_asked() const { return is_drain_asked_; }
  int drain_asked_fd() const { return drain_asked_.get(); }

  // Reopens the access log after rotation. Thread-safe.
  void ReopenLog();

  std::uint64_t active() const { return stats_.Active(); }
  bool has_ipv6() const { return has_ipv6_; }
  std::uint64_t max_connections() const { return shared_->max_connections; }

 private:
  enum class Phase : std::uint8_t { kStarting, kServing, kDraining, kClosingOutbound };

  bool Ready() const;
  int Listening(Direction direction) const;
  AdminBackend Backend();
  PageFacts Facts() const;
  std::vector<ConnectionInfo> Connections();
  HttpResponse ServeStatus(const HttpRequest& request) const;
  std::string Metrics() const;
  HttpResponse ServeMetrics(const HttpRequest& request) const;

  const ProxyConfig config_;
  Stats stats_;
  OwnSockets own_sockets_;
  std::atomic<bool> handed_over_{false};
  std::unique_ptr<LogWriter> log_;
  std::unique_ptr<MutualTls> mtls_;
  std::unique_ptr<History> history_;  // null: nobody can ask for it
  std::unique_ptr<WorkerShared> shared_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<HttpServers> http_;
  std::vector<Nameserver> dns_resolvers_;
  std::unique_ptr<dns::DnsForwarder> dns_;
  UniqueFd drain_asked_;
  std::atomic<bool> is_drain_asked_{false};
  std::atomic<Phase> phase_{Phase::kStarting};
  bool has_ipv6_ = true;
  const std::chrono::system_clock::time_point start_ = std::chrono::system_clock::now();
};

}  // namespace sluice::proxy
