// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "dns/cache.h"

#include <algorithm>
#include <utility>

#include "dns/wire.h"

namespace sluice::dns {
namespace {

constexpr std::uint32_t kMaxSeconds = 24 * 3600;  // RFC 2308 and RFC 8767 suggest a day to a week
constexpr std::uint32_t kMaxNegativeSeconds = 3 * 3600;  // RFC 2308, section 5
// A list node, a node of the hash table and its share of buckets, and the heap's own overhead.
constexpr std::size_t kBookKeeping = 256;

bool HasAnswer(const DnsQuestion& question, const DnsResponse& response) {
  const auto& records = response.message.records;
  return std::any_of(records.begin(), records.end(), [&](const DnsRecord& record) {
    return record.section == DnsSection::kAnswer &&
           (record.type == question.type || question.type == dns_type::kAny);
  });
}

std::optional<std::uint32_t> NegativeSeconds(const DnsResponse& response) {
  for (const DnsRecord& record : response.message.records) {
    if (record.section != DnsSection::kAuthority || record.type != dns_type::kSoa) continue;
    if (const auto minimum = SoaMinimum(response.bytes, record)) {
      return std::min({record.ttl, *minimum, kMaxNegativeSeconds});
    }
  }
  return std::nullopt;
}

// True if no name uses bytes of a TTL: counting down would change the name. No real server sends
// such a message, but somebody may. 0x80 begins neither a label nor a pointer.
bool CanCountDown(const DnsResponse& response) {
  DnsBytes bytes = response.bytes;
  for (const DnsRecord& record : response.message.records) {
    SetDns32(bytes, record.ttl_at, 0x80808080);
  }
  return ParseDnsMessage(bytes).has_value();
}

}  // namespace

std::uint32_t DnsCacheSeconds(const DnsQuestion& question, const DnsResponse& response) {
  const DnsRcode rcode = response.rcode();
  if (response.is_truncated() || !response.message.question) return 0;
  if (rcode != DnsRcode::kNoError && rcode != DnsRcode::kNxDomain) return 0;
  std::uint32_t seconds = kMaxSeconds;
  if (rcode == DnsRcode::kNxDomain || !HasAnswer(question, response)) {
    seconds = NegativeSeconds(response).value_or(0);
  }
  for (const DnsRecord& record : response.message.records) seconds = std::min(seconds, record.ttl);
  return seconds > 0 && CanCountDown(response) ? seconds : 0;
}

std::size_t DnsCache::Entry::Cost() const {
  return kBookKeeping + 2 * key.size() + message.size() + ttls_at.size() * sizeof(ttls_at[0]);
}

void DnsCache::Erase(Entries::iterator entry) {
  bytes_ -= entry->Cost();
  by_key_.erase(entry->key);
  entries_.erase(entry);
}

void DnsCache::Put(const DnsQuery& query, const DnsResponse& response, Clock::time_point now) {
  std::string key = query.Key();
  if (const auto old = by_key_.find(key); old != by_key_.end()) Erase(old->second);
  const std::uint32_t seconds = DnsCacheSeconds(query.question, response);
  if (seconds == 0) return;

  Entry entry{.key = std::move(key),
              .message = response.bytes,
              .ttls_at = {},
              .stored = now,
              .expires = now + std::chrono::seconds(seconds)};
  DnsHeader header = response.message.header;
  header.flags = static_cast<std::uint16_t>(header.flags & ~dns_flag::kAuthoritative);
  SetDnsHeader(entry.message, header);
  for (const DnsRecord& record : response.message.records) {
    entry.ttls_at.push_back(static_cast<std::uint16_t>(record.ttl_at));
    // No record may outlive the whole answer, in particular a negative answer's SOA.
    const bool is_negative_soa = record.section == DnsSection::kAuthority &&
                                 record.type == dns_type::kSoa &&
                                 !HasAnswer(query.question, response);
    SetDns32(entry.message, record.ttl_at,
             std::min(record.ttl, is_negative_soa ? seconds : kMaxSeconds));
  }
  if (entry.Cost() > limits_.bytes || limits_.entries == 0) return;
  while (by_key_.size() >= limits_.entries || bytes_ + entry.Cost() > limits_.bytes) {
    Erase(std::prev(entries_.end()));
  }
  bytes_ += entry.Cost();
  entries_.push_front(std::move(entry));
  by_key_.emplace(entries_.front().key, entries_.begin());
}

std::optional<DnsBytes> DnsCache::Get(const DnsQuery& query, Clock::time_point now) {
  const auto found = by_key_.find(query.Key());
  if (found == by_key_.end()) return std::nullopt;
  const auto entry = found->second;
  if (now >= entry->expires) {
    Erase(entry);
    return std::nullopt;
  }
  entries_.splice(entries_.begin(), entries_, entry);
  DnsBytes message = entry->message;
  const auto age = static_cast<std::uint32_t>(
      std::chrono::duration_cast<std::chrono::seconds>(now - entry->stored).count());
  // None is smaller, or the entry would have expired.
  for (const std::uint16_t at : entry->ttls_at) {
    SetDns32(message, at, GetDns32(message, at) - age);
  }
  return message;
}

}  // namespace sluice::dns
