// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "dns/message.h"

#include <algorithm>

#include "base/text/ascii.h"
#include "dns/wire.h"

namespace sluice::dns {
namespace {

constexpr std::size_t kMaxName = 255;    // RFC 1035, section 2.3.4
constexpr std::uint8_t kMaxLabel = 63;   // in a length byte the upper two bits are flags
constexpr std::uint8_t kPointer = 0xc0;  // RFC 1035, section 4.1.4
constexpr std::uint16_t kDnssecOk = 0x8000;
constexpr std::uint32_t kMaxTtl = 0x7fffffff;  // RFC 2181, section 8
constexpr std::size_t kRecordFrame = 10;       // type, class, TTL, length

// Label lengths are below 64, and thus below 'A'.
std::string LowerName(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(), ToLower);
  return name;
}

std::optional<DnsRecord> ReadRecord(DnsView bytes, std::size_t& at, DnsSection section) {
  DnsRecord record{.section = section, .begins_at = at};
  if (!ReadDnsName(bytes, at) || bytes.size() - at < kRecordFrame) return std::nullopt;
  record.type = GetDns16(bytes, at);
  record.rclass = GetDns16(bytes, at + 2);
  record.ttl_at = at + 4;
  record.ttl = GetDns32(bytes, record.ttl_at);
  record.data_bytes = GetDns16(bytes, at + 8);
  record.data_at = at + kRecordFrame;
  if (bytes.size() - record.data_at < record.data_bytes) return std::nullopt;
  at = record.data_at + record.data_bytes;
  return record;
}

// RFC 6891, section 6.1: class and TTL have other meanings, and the owner is the root.
DnsEdns ReadEdns(const DnsRecord& record) {
  return {.udp_bytes = record.rclass,
          .version = static_cast<std::uint8_t>(record.ttl >> 16),
          .extended_rcode = static_cast<std::uint8_t>(record.ttl >> 24),
          .dnssec_ok = (record.ttl & kDnssecOk) != 0};
}

bool ReadSection(DnsView bytes, std::size_t& at, DnsSection section, std::size_t count,
                 DnsMessage& out) {
  for (; count > 0; --count) {
    auto record = ReadRecord(bytes, at, section);
    if (!record) return false;
    if (record->type == dns_type::kOpt) {
      const bool is_root = record->ttl_at - record->begins_at == 5;
      if (section != DnsSection::kAdditional || !is_root || out.edns) return false;
      out.edns = ReadEdns(*record);
    } else if (record->ttl > kMaxTtl) {
      record->ttl = 0;
    }
    out.records.push_back(*record);
  }
  return true;
}

}  // namespace

bool DnsQuestion::Matches(const DnsQuestion& other) const {
  return type == other.type && qclass == other.qclass && LowerName(name) == LowerName(other.name);
}

std::string DnsQuestion::Key() const {
  std::string key = LowerName(name);
  for (const std::uint16_t number : {type, qclass}) {
    key.push_back(static_cast<char>(number >> 8));
    key.push_back(static_cast<char>(number & 0xff));
  }
  return key;
}

std::string DnsQuestion::Zone() const {
  std::size_t last = 0;    // start of the last label
  std::size_t before = 0;  // start of the label before it
  for (std::size_t at = 0; at < name.size() && name[at] != 0;
       at += static_cast<unsigned char>(name[at]) + std::size_t{1}) {
    before = last;
    last = at;
  }
  return LowerName(name.substr(before));
}

std::optional<std::string> ReadDnsName(DnsView message, std::size_t& at) {
  std::string name;
  std::size_t end = 0;          // after the name in its original place: known at the first pointer
  std::size_t part_begin = at;  // a pointer's target must lie before the part that it ends
  std::size_t part_limit = message.size();
  for (std::size_t here = at; here < part_limit;) {
    const std::uint8_t length = message[here];
    if ((length & kPointer) == kPointer) {
      if (part_limit - here < 2) return std::nullopt;
      const std::size_t target = GetDns16(message, here) & 0x3fffU;
      if (target >= part_begin || target < kDnsHeaderBytes) return std::nullopt;
      if (end == 0) end = here + 2;
      part_limit = part_begin;
      here = part_begin = target;
      continue;
    }
    if (length > kMaxLabel || part_limit - here < length + std::size_t{1} ||
        name.size() + length + 1 > kMaxName) {
      return std::nullopt;
    }
    const auto label = message.subspan(here, length + std::size_t{1});
    name.append(label.begin(), label.end());
    here += label.size();
    if (length == 0) {
      at = end == 0 ? here : end;
      return name;
    }
  }
  return std::nullopt;
}

std::optional<DnsMessage> ParseDnsMessage(DnsView bytes) {
  std::size_t size = 0;
  auto message = ParseDnsMessageAtStart(bytes, size);
  return size == bytes.size() ? message : std::nullopt;
}

std::optional<DnsMessage> ParseDnsMessageAtStart(DnsView bytes, std::size_t& size) {
  if (bytes.size() < kDnsHeaderBytes || bytes.size() > kMaxDnsMessage) return std::nullopt;
  DnsMessage out;
  out.header = GetDnsHeader(bytes);
  if (out.header.questions > 1) return std::nullopt;
  std::size_t at = kDnsHeaderBytes;
  if (out.header.questions == 1) {
    auto name = ReadDnsName(bytes, at);
    if (!name || bytes.size() - at < 4) return std::nullopt;
    out.question = {std::move(*name), GetDns16(bytes, at), GetDns16(bytes, at + 2)};
    at += 4;
  }
  if (!ReadSection(bytes, at, DnsSection::kAnswer, out.header.answers, out) ||
      !ReadSection(bytes, at, DnsSection::kAuthority, out.header.authorities, out) ||
      !ReadSection(bytes, at, DnsSection::kAdditional, out.header.additionals, out)) {
    return std::nullopt;
  }
  size = at;
  return out;
}

// RFC 1035, section 3.3.13: two names, then five numbers; the last one is MINIMUM.
std::optional<std::uint32_t> SoaMinimum(DnsView bytes, const DnsRecord& soa) {
  const std::size_t end = soa.data_at + soa.data_bytes;
  if (soa.type != dns_type::kSoa || end > bytes.size()) return std::nullopt;
  const DnsView until_end = bytes.first(end);
  std::size_t at = soa.data_at;
  if (!ReadDnsName(until_end, at) || !ReadDnsName(until_end, at) || end - at != 20) {
    return std::nullopt;
  }
  return GetDns32(bytes, end - 4);
}

}  // namespace sluice::dns
