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

// Throws sluice::Error that names the first of the relay's and control path's ports on which
// somebody listens. The proxy's own sockets share their ports with those of the same user's other
// proxies, which is wanted for a hand-over only.
void CheckPortsAreFree(const ProxyConfig& config);

// The proxy: workers, access log and control path, put together. All threads that it starts have
// all signals blocked. One per process: it ignores SIGPIPE and raises the descriptor limit.
class Proxy {
 public:
  // Binds every port; no thread runs yet, so that the caller may give up privileges in between.
  // `given` are listening sockets of a proxy that hands over; those of other ports are not used.
  // Throws sluice::Error; then nothing listens.
  explicit Proxy(ProxyConfig config, std::vector<UniqueFd> given = {});
  // Resets the connections that are left, writes the log out and ends all threads.
  ~Proxy();
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  // Accepts connections from here on. Throws sluice::Error.
  void Start();

  // What it relays from, to be handed over before Drain.
  std::vector<int> Listeners() const;
  // Whether somebody else has the same sockets: Drain leaves them then, where it refuses new
  // connections otherwise, which would be the other one's. Thread-safe.
  void SetHandedOver(bool handed_over) { handed_over_ = handed_over; }

  // Begins to drain: not ready any more, no new inbound connections; what is open goes on, and the
  // application may still open outbound connections, which finishing its work can need.
  // Thread-safe.
  void Drain();

  // Whether the drain has come to its end: nothing is open and nothing is accepted any more. To be
  // asked now and then while draining; it takes the next step when the last one is done. From one
  // thread only.
  bool Drained();

  // Whether a client of the admin port has asked to drain. From then on the descriptor is readable,
  // for poll(2). Thread-safe.
  bool drain_asked() const { return is_drain_asked_; }
  int drain_asked_fd() const { return drain_asked_.get(); }

  // Opens the access log again, after it was rotated. Thread-safe.
  void ReopenLog();

  std::uint64_t active() const { return stats_.Active(); }
  bool has_ipv6() const { return has_ipv6_; }
  std::uint64_t max_connections() const { return shared_->max_connections; }

 private:
  enum class Phase : std::uint8_t { kStarting, kServing, kDraining, kClosingOutbound };

  bool Ready() const;
  int Listening(Direction direction) const;
  AdminBackend Backend();
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
