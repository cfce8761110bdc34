// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace sluice::dns {

// The part of DNS messages (RFC 1035, section 4; EDNS: RFC 6891) that a forwarder must understand:
// header, question, the format of records, OPT. Pure functions on whole messages (without the
// length prefix of TCP); malformed input gives "no value", never an exception. Numbers are in host
// byte order.

using DnsBytes = std::vector<std::uint8_t>;
using DnsView = std::span<const std::uint8_t>;

inline constexpr std::size_t kDnsHeaderBytes = 12;
inline constexpr std::size_t kMaxDnsMessage = 65535;  // 16 bits of length on TCP
inline constexpr std::size_t kMinDnsUdpBytes = 512;   // without EDNS (RFC 1035, section 4.2.1)
// The size to advertise with EDNS: fits the smallest IPv6 MTU, so that no answer is fragmented
// (1280 - 40 - 8; agreed on at DNS flag day 2020).
inline constexpr std::uint16_t kDnsUdpPayload = 1232;

// Protocol values; not a complete list.
enum class DnsRcode : std::uint16_t {
  kNoError = 0,
  kFormErr = 1,
  kServFail = 2,
  kNxDomain = 3,
  kNotImp = 4,
  kRefused = 5,
  kBadVers = 16,  // EDNS only
};
namespace dns_type {
inline constexpr std::uint16_t kSoa = 6;
inline constexpr std::uint16_t kOpt = 41;
inline constexpr std::uint16_t kIxfr = 251;
inline constexpr std::uint16_t kAxfr = 252;
inline constexpr std::uint16_t kAny = 255;
}  // namespace dns_type
namespace dns_flag {
inline constexpr std::uint16_t kResponse = 0x8000;
inline constexpr std::uint16_t kOpcode = 0x7800;
inline constexpr std::uint16_t kAuthoritative = 0x0400;
inline constexpr std::uint16_t kTruncated = 0x0200;
inline constexpr std::uint16_t kRecursionDesired = 0x0100;
inline constexpr std::uint16_t kRecursionAvailable = 0x0080;
inline constexpr std::uint16_t kAuthenticData = 0x0020;
inline constexpr std::uint16_t kCheckingDisabled = 0x0010;
inline constexpr std::uint16_t kRcode = 0x000f;
}  // namespace dns_flag

struct DnsHeader {
  std::uint16_t id = 0;
  std::uint16_t flags = 0;
  std::uint16_t questions = 0;
  std::uint16_t answers = 0;
  std::uint16_t authorities = 0;
  std::uint16_t additionals = 0;

  // Without the upper bits from EDNS.
  DnsRcode rcode() const { return static_cast<DnsRcode>(flags & dns_flag::kRcode); }
};

struct DnsQuestion {
  std::string name;  // wire format: length-prefixed labels and the root's zero; case as sent
  std::uint16_t type = 0;
  std::uint16_t qclass = 0;

  // Names compare without regard to ASCII case (RFC 4343).
  bool Matches(const DnsQuestion& other) const;
  // The name in lower case, type and class, as one string.
  std::string Key() const;
  // The last two labels of the name, in lower case and wire format: roughly the unit for which one
  // set of servers is responsible.
  std::string Zone() const;
};

enum class DnsSection : std::uint8_t { kAnswer, kAuthority, kAdditional };

// The fixed part of a record; offsets are from the start of the message.
struct DnsRecord {
  DnsSection section = DnsSection::kAnswer;
  std::uint16_t type = 0;
  std::uint16_t rclass = 0;
  std::uint32_t ttl = 0;  // seconds; more than 2^31 - 1 counts as 0 (RFC 2181, section 8)
  std::size_t begins_at = 0;
  std::size_t ttl_at = 0;
  std::size_t data_at = 0;
  std::size_t data_bytes = 0;
};

// Taken from the OPT record.
struct DnsEdns {
  std::uint16_t udp_bytes = 0;  // the size that the sender accepts
  std::uint8_t version = 0;
  std::uint8_t extended_rcode = 0;  // the upper 8 of 12 bits
  bool dnssec_ok = false;
};

// A message in which every length, name and compression pointer is valid, with at most one question
// and one OPT. Bytes after the last record are an error.
struct DnsMessage {
  DnsHeader header;
  std::optional<DnsQuestion> question;
  std::vector<DnsRecord> records;
  std::optional<DnsEdns> edns;
};

// The name at `at`, uncompressed, as in DnsQuestion; `at` moves past it. Nothing if a label,
// the name (255 bytes) or the message has a wrong length, or if a pointer does not lead to a
// name that ends before the current one: "a prior occurrence", which also limits the number of
// steps.
std::optional<std::string> ReadDnsName(DnsView message, std::size_t& at);

std::optional<DnsMessage> ParseDnsMessage(DnsView bytes);
// The same for a message followed by other bytes; `size` is the message's own.
std::optional<DnsMessage> ParseDnsMessageAtStart(DnsView bytes, std::size_t& size);

// MINIMUM of a SOA record, in seconds.
std::optional<std::uint32_t> SoaMinimum(DnsView bytes, const DnsRecord& soa);

// A client's question.
struct DnsQuery {
  std::uint16_t id = 0;
  std::uint16_t flags = 0;  // RD, AD and CD; no other
  DnsQuestion question;
  std::optional<DnsEdns> edns;

  // Queries with equal keys have the same answer.
  std::string Key() const;
  // The maximum size of an answer over UDP: 512 bytes, or more if the client says so with EDNS.
  std::size_t MaxUdpBytes() const;
};

// What to do with a client's message.
struct DnsRequest {
  enum class Handling : std::uint8_t {
    kForward,  // `query` needs an answer
    kRefuse,   // `reply` is the error
    kDrop,     // not a query: a reply might itself be answered
  };
  Handling handling = Handling::kDrop;
  DnsQuery query;
  DnsBytes reply;
};
DnsRequest ParseDnsRequest(DnsView bytes);

// The upstream form of `query`, with its own id. If the client sent an OPT it is replaced by ours:
// its options concern one hop only.
DnsBytes MakeUpstreamQuery(const DnsQuery& query, std::uint16_t id);

// An answer from upstream, without OPT.
struct DnsResponse {
  DnsBytes bytes;
  DnsMessage message;  // of `bytes`

  DnsRcode rcode() const { return message.header.rcode(); }
  bool is_truncated() const { return (message.header.flags & dns_flag::kTruncated) != 0; }
};

// The response to `query` as sent with `id`. Nothing if it is malformed or does not match. As some
// servers send them, errors without the question are accepted, and so are bytes after the message,
// which are dropped.
std::optional<DnsResponse> ParseDnsResponse(DnsView bytes, const DnsQuery& query, std::uint16_t id);

// The reply to `query` with the contents of `response`, a message without OPT and with the same
// question (in any case): with the client's id, flags, question and OPT. If it would exceed
// `max_bytes`, it has only TC and the question.
DnsBytes MakeReply(const DnsQuery& query, DnsView response, std::size_t max_bytes);

// The reply that reports an error.
DnsBytes MakeErrorReply(const DnsQuery& query, DnsRcode rcode);

}  // namespace sluice::dns
