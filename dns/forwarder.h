// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/os/resolv_conf.h"
#include "base/socket_address.h"
#include "dns/cache.h"

namespace sluice::dns {

struct DnsForwarderOptions {
  // Where to listen, UDP and TCP on each. A captured query is redirected on its way out of the pod,
  // and there REDIRECT leads to the loopback address of its family: see DnsListenAddresses. No
  // other address should be needed, and any other would make this a resolver for strangers.
  std::vector<SocketAddress> listen = {};
  // Whom to ask, in this order; at least one.
  std::vector<Nameserver> resolvers = {};
  // How long one server is waited for, and how often the list is gone through: ResolvConf.
  std::chrono::milliseconds timeout{2000};
  int attempts = 2;
  // Questions without an answer yet. Each may hold a descriptor and up to 8 KiB: 2 MiB at worst.
  // Beyond it the answer is SERVFAIL at once. A zone may have as many as are free, so that one
  // whose servers are silent takes half, two of them two thirds, and others are still answered.
  std::size_t max_in_flight = 256;
  // Connections from clients; beyond it the one that has been idle for the longest is closed, or
  // the new one when all wait for answers. Each may have `max_pipelined` questions that are not
  // answered and taken, of 64 KiB each at worst, and is not read from meanwhile.
  std::size_t max_tcp_clients = 32;
  std::size_t max_pipelined = 8;
  // A connection without a complete question or a taken answer for this long is closed (RFC 7766,
  // section 6.2.3, asks for the order of seconds).
  std::chrono::milliseconds tcp_idle{10000};
  DnsCache::Limits cache = {};
};

// Since Start().
struct DnsStats {
  std::uint64_t queries = 0;              // taken from clients, well-formed
  std::uint64_t cache_hits = 0;           // answered from the cache
  std::uint64_t coalesced = 0;            // answered with what another client's question brought
  std::uint64_t refused_queries = 0;      // malformed, not supported or not a query
  std::uint64_t over_limit = 0;           // SERVFAIL for max_in_flight, closed for max_tcp_clients
  std::uint64_t upstream_queries = 0;     // sent, over UDP and TCP
  std::uint64_t upstream_timeouts = 0;    // of one server
  std::uint64_t upstream_mismatches = 0;  // responses to something else: late, or forged
  std::uint64_t tcp_retries = 0;          // for truncated responses
  std::uint64_t upstream_failures = 0;    // questions that no server had an answer to
};

// Answers the DNS queries that are captured (RFC 1035, 2308, 5452, 6891, 7766): from its cache,
// else by asking the pod's resolvers. Every upstream query has a random id and a socket, and so a
// random port, of its own; only what comes from the address that was asked, under that id and with
// that question is believed. Equal questions that are waiting are asked once, which also ends a
// loop in which a query of ours should come back to us.
//
// Works on a thread of its own. Listen, Start, Stop and the destructor are called by one thread;
// stats() by any.
class DnsForwarder {
 public:
  // Throws Error when an option makes no sense; kUsage when a resolver is one of the listening
  // addresses, for such a query would go round for ever.
  explicit DnsForwarder(DnsForwarderOptions options);
  // Stops.
  ~DnsForwarder();
  DnsForwarder(const DnsForwarder&) = delete;
  DnsForwarder& operator=(const DnsForwarder&) = delete;

  // Binds every address, shared with another forwarder of the same user (SO_REUSEPORT): one that
  // takes this one's place. Nothing is answered before Start. Throws Error when it cannot; then
  // nothing listens. Called once.
  void Listen();
  // Answers from here on; listens, when that was not done before. Throws Error; then nothing runs.
  // Called once.
  void Start();
  // Closes everything at once; waiting clients are left without an answer. More calls do nothing.
  void Stop();

  DnsStats stats() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// The loopback addresses with `port`: 127.0.0.1, and ::1 unless IPv6 is disabled here.
std::vector<SocketAddress> DnsListenAddresses(std::uint16_t port);

}  // namespace sluice::dns
