// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Queries and answers: what a forwarder accepts, sends, trusts and returns. The record format is in
// message.cc.
#include <algorithm>

#include "dns/message.h"
#include "dns/wire.h"

namespace sluice::dns {
namespace {

// The flags of a client's question that the reply returns unchanged.
constexpr std::uint16_t kQueryFlags =
    dns_flag::kRecursionDesired | dns_flag::kAuthenticData | dns_flag::kCheckingDisabled;
constexpr std::uint16_t kEchoedFlags = dns_flag::kRecursionDesired | dns_flag::kCheckingDisabled;

constexpr std::size_t kOptBytes = 11;       // root, type, class, TTL, no data
constexpr std::size_t kMaxNameBytes = 255;  // RFC 1035, section 2.3.4

DnsBytes MakeHeader(const DnsHeader& header) {
  DnsBytes out;
  // The maximum size with a question and OPT; GCC 12 takes growing for an overflow.
  out.reserve(kDnsHeaderBytes + kMaxNameBytes + 4 + kOptBytes);
  out.resize(kDnsHeaderBytes);
  SetDnsHeader(out, header);
  return out;
}

void AppendQuestion(DnsBytes& out, const DnsQuestion& question) {
  out.insert(out.end(), question.name.begin(), question.name.end());
  out.resize(out.size() + 4);
  SetDns16(out, out.size() - 4, question.type);
  SetDns16(out, out.size() - 2, question.qclass);
}

// RFC 6891, section 6.1.2.
void AppendOpt(DnsBytes& out, bool dnssec_ok, std::uint8_t extended_rcode) {
  const std::size_t at = out.size();
  out.resize(at + kOptBytes);
  SetDns16(out, at + 1, dns_type::kOpt);
  SetDns16(out, at + 3, kDnsUdpPayload);
  out[at + 5] = extended_rcode;
  out[at + 7] = dnssec_ok ? 0x80 : 0;
  DnsHeader header = GetDnsHeader(out);
  ++header.additionals;
  SetDnsHeader(out, header);
}

DnsBytes WithoutContent(const DnsQuery& query, std::uint16_t flags, std::uint8_t extended_rcode) {
  const std::uint16_t questions = query.question.name.empty() ? 0 : 1;
  DnsBytes out = MakeHeader({.id = query.id, .flags = flags, .questions = questions});
  // Once for the question and OPT; without it GCC 12 sees a copy past the end of the header.
  out.reserve(out.size() + query.question.name.size() + 4 + kOptBytes);
  if (questions > 0) AppendQuestion(out, query.question);
  if (query.edns) AppendOpt(out, query.edns->dnssec_ok, extended_rcode);
  return out;
}

// Removes OPT. It comes last, except for message signatures. Records after it are additional and
// may be dropped; removing OPT from before them would shift the targets of pointers.
void CutAtOpt(DnsResponse& response) {
  auto& records = response.message.records;
  const auto opt = std::find_if(records.begin(), records.end(), [](const DnsRecord& record) {
    return record.type == dns_type::kOpt;
  });
  if (opt == records.end()) return;
  auto& header = response.message.header;
  header.additionals =
      static_cast<std::uint16_t>(header.additionals - std::distance(opt, records.end()));
  response.bytes.resize(opt->begins_at);
  records.erase(opt, records.end());
  SetDnsHeader(response.bytes, header);
}

}  // namespace

std::string DnsQuery::Key() const {
  std::string key = question.Key();
  key.push_back(static_cast<char>(flags >> 8));
  key.push_back(static_cast<char>(flags & 0xff));
  key.push_back(edns && edns->dnssec_ok ? 1 : 0);
  return key;
}

std::size_t DnsQuery::MaxUdpBytes() const {
  return edns ? std::max<std::size_t>(edns->udp_bytes, kMinDnsUdpBytes) : kMinDnsUdpBytes;
}

DnsRequest ParseDnsRequest(DnsView bytes) {
  DnsRequest out;
  if (bytes.size() < kDnsHeaderBytes) return out;
  const DnsHeader header = GetDnsHeader(bytes);
  if ((header.flags & dns_flag::kResponse) != 0) return out;
  out.query.id = header.id;
  out.query.flags = header.flags & kQueryFlags;

  const auto refuse = [&out, &header](DnsRcode rcode) {
    out.handling = DnsRequest::Handling::kRefuse;
    out.reply = MakeErrorReply(out.query, rcode);
    // The sender of an UPDATE or NOTIFY expects a reply with the same opcode.
    DnsHeader reply = GetDnsHeader(out.reply);
    reply.flags = static_cast<std::uint16_t>(reply.flags | (header.flags & dns_flag::kOpcode));
    SetDnsHeader(out.reply, reply);
    return out;
  };
  // Check the opcode first: with any other than QUERY the sections have other meanings.
  if ((header.flags & dns_flag::kOpcode) != 0) return refuse(DnsRcode::kNotImp);
  auto message = ParseDnsMessage(bytes);
  if (!message || !message->question) return refuse(DnsRcode::kFormErr);
  out.query.question = std::move(*message->question);
  out.query.edns = message->edns;
  if (out.query.edns && out.query.edns->version != 0) return refuse(DnsRcode::kBadVers);
  // A transfer has many messages, and is not for clients of a resolver.
  const std::uint16_t type = out.query.question.type;
  if (type == dns_type::kAxfr || type == dns_type::kIxfr) return refuse(DnsRcode::kRefused);
  out.handling = DnsRequest::Handling::kForward;
  return out;
}

DnsBytes MakeUpstreamQuery(const DnsQuery& query, std::uint16_t id) {
  DnsQuery upstream = query;
  upstream.id = id;
  return WithoutContent(upstream, query.flags, 0);
}

std::optional<DnsResponse> ParseDnsResponse(DnsView bytes, const DnsQuery& query,
                                            std::uint16_t id) {
  std::size_t size = 0;
  auto message = ParseDnsMessageAtStart(bytes, size);
  if (!message) return std::nullopt;
  bytes = bytes.first(size);
  const DnsHeader& header = message->header;
  if (header.id != id || (header.flags & dns_flag::kResponse) == 0 ||
      (header.flags & dns_flag::kOpcode) != 0) {
    return std::nullopt;
  }
  const bool is_error =
      header.rcode() != DnsRcode::kNoError && header.rcode() != DnsRcode::kNxDomain;
  if (message->question ? !message->question->Matches(query.question) : !is_error) {
    return std::nullopt;
  }
  // BADVERS and the like concern the hop to the server, in bits that clients without EDNS lack.
  if (message->edns && message->edns->extended_rcode != 0) {
    const auto servfail = static_cast<std::uint16_t>(DnsRcode::kServFail);
    message->header.flags =
        static_cast<std::uint16_t>((header.flags & ~dns_flag::kRcode) | servfail);
  }
  DnsResponse out{DnsBytes(bytes.begin(), bytes.end()), std::move(*message)};
  SetDnsHeader(out.bytes, out.message.header);
  CutAtOpt(out);
  return out;
}

DnsBytes MakeReply(const DnsQuery& query, DnsView response, std::size_t max_bytes) {
  DnsHeader header = GetDnsHeader(response);
  const auto flags =
      static_cast<std::uint16_t>((header.flags & ~kEchoedFlags) | (query.flags & kEchoedFlags));
  // An error that came without its question gets one.
  if (header.questions == 0) return WithoutContent(query, flags, 0);
  if (response.size() + (query.edns ? kOptBytes : 0) > max_bytes) {
    return WithoutContent(query, flags | dns_flag::kTruncated, 0);
  }
  DnsBytes out(response.begin(), response.end());
  header.id = query.id;
  header.flags = flags;
  SetDnsHeader(out, header);
  // The name in the client's spelling: some clients randomize its case and check it.
  std::copy(query.question.name.begin(), query.question.name.end(), out.begin() + kDnsHeaderBytes);
  if (query.edns) AppendOpt(out, query.edns->dnssec_ok, 0);
  return out;
}

DnsBytes MakeErrorReply(const DnsQuery& query, DnsRcode rcode) {
  const auto value = static_cast<std::uint16_t>(rcode);
  const auto flags =
      static_cast<std::uint16_t>(dns_flag::kResponse | dns_flag::kRecursionAvailable |
                                 (query.flags & kEchoedFlags) | (value & dns_flag::kRcode));
  return WithoutContent(query, flags, static_cast<std::uint8_t>(value >> 4));
}

}  // namespace sluice::dns
