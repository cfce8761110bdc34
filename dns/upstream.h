// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/udp.hpp>

#include "dns/forwarder.h"
#include "dns/message.h"

// The forwarder's side towards the servers. Private to dns: it names Asio.
namespace sluice::dns {

// The counters behind DnsStats: written by the forwarder's thread, read by any.
struct DnsCounters {
  using Counter = std::atomic<std::uint64_t>;
  Counter queries{0};
  Counter cache_hits{0};
  Counter coalesced{0};
  Counter refused_queries{0};
  Counter over_limit{0};
  Counter upstream_queries{0};
  Counter upstream_timeouts{0};
  Counter upstream_mismatches{0};
  Counter tcp_retries{0};
  Counter upstream_failures{0};
};

inline void Count(DnsCounters::Counter& counter) {
  counter.fetch_add(1, std::memory_order_relaxed);
}

// Asks servers in turn. For use by one thread.
class DnsUpstream {
 public:
  // Throws Error when the scope of a resolver is not an interface here.
  DnsUpstream(const DnsForwarderOptions& options, DnsCounters& counters);

  // The first usable answer: after SERVFAIL, NOTIMP or REFUSED it asks the next server, and returns
  // such an answer only if no server has a better one. Nothing when none answered. `query` must
  // outlive the call.
  boost::asio::awaitable<std::optional<DnsResponse>> Ask(const DnsQuery& query);

 private:
  using Endpoint = boost::asio::ip::udp::endpoint;
  using Clock = std::chrono::steady_clock;

  boost::asio::awaitable<std::optional<DnsResponse>> AskServer(Endpoint server,
                                                               const DnsQuery& query);
  boost::asio::awaitable<std::optional<DnsResponse>> AskUdp(Endpoint server, const DnsQuery& query);
  boost::asio::awaitable<std::optional<DnsResponse>> AskTcp(Endpoint server, const DnsQuery& query);
  std::size_t FirstServer() const;

  std::vector<Endpoint> servers_;
  std::chrono::milliseconds timeout_;
  int attempts_;
  DnsCounters& counters_;
  // The server that answered in place of the one before it, and until when it is asked first.
  std::size_t preferred_ = 0;
  Clock::time_point preferred_until_{};
};

// An Asio address for UDP or TCP endpoints.
boost::asio::ip::address ToAsio(const IpAddress& address);

}  // namespace sluice::dns
