// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "dns/message.h"

namespace sluice::dns {

// Keeps answers as long as their TTL allows. Pure: time is a parameter. Not thread-safe.
//
// It keeps complete answers (NOERROR, NXDOMAIN) for the smallest TTL of their records; "no such
// name" and "no such record" follow RFC 2308: the smaller of the SOA's TTL and MINIMUM, and not
// kept without a SOA. Truncated answers, other errors and TTL 0 are not kept.
class DnsCache {
 public:
  using Clock = std::chrono::steady_clock;

  struct Limits {
    std::size_t entries = 2048;  // a pod asks for tens of names, each in every search domain
    std::size_t bytes = std::size_t{2} * 1024 * 1024;  // a fifth of what a small sidecar may use
  };

  DnsCache() : DnsCache(Limits{}) {}
  explicit DnsCache(Limits limits) : limits_(limits) {}

  // Stores the answer to `query`, replacing an older one. When the limits are reached, the least
  // recently used entries are dropped.
  void Put(const DnsQuery& query, const DnsResponse& response, Clock::time_point now);

  // The answer to `query`, for MakeReply: TTLs are reduced by the time elapsed, and it is no longer
  // authoritative.
  std::optional<DnsBytes> Get(const DnsQuery& query, Clock::time_point now);

  std::size_t entries() const { return by_key_.size(); }
  // The size of messages, keys and overhead.
  std::size_t bytes() const { return bytes_; }

 private:
  struct Entry {
    std::string key;
    DnsBytes message;
    std::vector<std::uint16_t> ttls_at;  // offsets in `message`
    Clock::time_point stored;
    Clock::time_point expires;

    std::size_t Cost() const;
  };
  using Entries = std::list<Entry>;  // most recently used first

  void Erase(Entries::iterator entry);

  Limits limits_;
  Entries entries_;
  std::unordered_map<std::string, Entries::iterator> by_key_;
  std::size_t bytes_ = 0;
};

// How long `response` may be kept, in seconds; 0 means not at all.
std::uint32_t DnsCacheSeconds(const DnsQuestion& question, const DnsResponse& response);

}  // namespace sluice::dns
