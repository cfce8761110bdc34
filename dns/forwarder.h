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
  // Where to listen, on UDP and TCP. Captured queries are redirected on their way out of the pod,
  // and there REDIRECT leads to the family's loopback address: see DnsListenAddresses. No other
  // address should be needed, and any other would make this a resolver for strangers.
  std::vector<SocketAddress> listen = {};
  // The servers to ask, in this order; at least one.
  std::vector<Nameserver> resolvers = {};
  // How long to wait for one server, and how often to try the list: see ResolvConf.
  std::chrono::milliseconds timeout{2000};
  int attempts = 2;
  // Unanswered questions. Each may hold a descriptor and up to 8 KiB: 2 MiB at worst. Further
  // questions get SERVFAIL at once. A zone may use as many as are free, so a zone with silent
  // servers takes half of them, two such zones two thirds, and others are still answered. So may a
  // client's socket: one that asks for all kinds of silent zones leaves half of them to others.
  std::size_t max_in_flight = 256;
  // Client connections. At the limit the longest idle one is closed or, if all wait for answers,
  // the new one. Each may have `max_pipelined` questions whose answers the client has not taken, of
  // 64 KiB each at worst; beyond that it is not read from.
  std::size_t max_tcp_clients = 32;
  std::size_t max_pipelined = 8;
  // A connection is closed after this long without a complete question or a taken answer (RFC 7766,
  // section 6.2.3, asks for the order of seconds).
  std::chrono::milliseconds tcp_idle{10000};
  DnsCache::Limits cache = {};
};

// Since Start().
struct DnsStats {
  std::uint64_t queries = 0;              // from clients, well-formed
  std::uint64_t cache_hits = 0;           // answered from the cache
  std::uint64_t coalesced = 0;            // answered together with another client's equal question
  std::uint64_t refused_queries = 0;      // malformed, not supported or not a query
  std::uint64_t over_limit = 0;           // SERVFAIL for max_in_flight, closed for max_tcp_clients
  std::uint64_t upstream_queries = 0;     // sent, over UDP and TCP
  std::uint64_t upstream_timeouts = 0;    // of a single server
  std::uint64_t upstream_mismatches = 0;  // responses that do not match: late, or forged
  std::uint64_t tcp_retries = 0;          // for truncated responses
  std::uint64_t upstream_failures = 0;    // questions that no server answered
};

// Answers captured DNS queries (RFC 1035, 2308, 5452, 6891, 7766) from its cache or by asking the
// pod's resolvers. Every upstream query has a random id and its own socket, and so a random port;
// a response is accepted only from the address that was asked, with the same id and question.
// Equal questions in flight are asked once, which also ends a loop if one of our own queries is
// captured.
//
// Runs on a thread of its own. One thread calls Listen, Start, Stop and the destructor; any thread
// may call stats().
class DnsForwarder {
 public:
  // Throws Error when an option makes no sense; kUsage when a resolver is one of the listening
  // addresses, because such a query would loop forever.
  explicit DnsForwarder(DnsForwarderOptions options);
  // Calls Stop().
  ~DnsForwarder();
  DnsForwarder(const DnsForwarder&) = delete;
  DnsForwarder& operator=(const DnsForwarder&) = delete;

  // Binds every address, shared with another forwarder of the same user (SO_REUSEPORT) for
  // hand-overs. Answers nothing before Start. Throws Error on failure; then nothing listens. Call
  // once.
  void Listen();
  // Begins to answer; calls Listen first if needed. Throws Error; then nothing runs. Call
  // once.
  void Start();
  // Closes everything at once; waiting clients get no answer. Further calls do nothing.
  void Stop();

  DnsStats stats() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// The loopback addresses with `port`: 127.0.0.1, and ::1 unless IPv6 is disabled here.
std::vector<SocketAddress> DnsListenAddresses(std::uint16_t port);

}  // namespace sluice::dns
