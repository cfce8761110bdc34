// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// DNS messages: the same bytes as a client's query and as a server's answer.
#include <algorithm>
#include <chrono>
#include <optional>

#include "dns/cache.h"
#include "dns/message.h"
#include "test/fuzz/fuzz.h"

namespace sluice::proxy {
namespace {

using fuzz::Require;
using std::chrono::seconds;

// Our reply is a valid message about the same question.
void RequireReply(dns::DnsView reply, const dns::DnsQuery& query, std::size_t max_bytes) {
  const auto message = dns::ParseDnsMessage(reply);
  Require(message.has_value(), "a reply can be read");
  Require(message->header.id == query.id, "a reply has the client's id");
  Require((message->header.flags & dns::dns_flag::kResponse) != 0, "a reply says that it is one");
  Require(message->question && message->question->name == query.question.name,
          "a reply repeats the question letter by letter");
  Require(message->edns.has_value() == query.edns.has_value(), "EDNS is answered with EDNS");
  // The longest question, with OPT, is below 512 bytes.
  Require(reply.size() <= std::max(max_bytes, dns::kMinDnsUdpBytes), "a reply is not too long");
}

void AsRequest(dns::DnsView bytes) {
  const dns::DnsRequest request = dns::ParseDnsRequest(bytes);
  if (request.handling == dns::DnsRequest::Handling::kDrop) return;
  if (request.handling == dns::DnsRequest::Handling::kRefuse) {
    Require(dns::ParseDnsMessage(request.reply).has_value(), "a refusal can be read");
    return;
  }
  const auto upstream = dns::ParseDnsRequest(dns::MakeUpstreamQuery(request.query, 99));
  Require(upstream.handling == dns::DnsRequest::Handling::kForward, "what is forwarded is a query");
  Require(upstream.query.id == 99, "what is forwarded has an id of its own");
  Require(upstream.query.Key() == request.query.Key(), "what is forwarded asks the same");
  RequireReply(dns::MakeErrorReply(request.query, dns::DnsRcode::kServFail), request.query, 512);
}

void RequireCached(const dns::DnsQuery& query, const dns::DnsResponse& response) {
  const dns::DnsCache::Clock::time_point now{};
  const std::uint32_t lifetime = dns::DnsCacheSeconds(query.question, response);
  dns::DnsCache cache;
  cache.Put(query, response, now);
  Require(!cache.Get(query, now + seconds(lifetime)), "nothing is kept beyond its time");
  if (lifetime == 0) return;
  cache.Put(query, response, now);
  const auto hit = cache.Get(query, now + seconds(lifetime - 1));
  Require(hit.has_value(), "what may be kept is");
  const auto message = dns::ParseDnsMessage(*hit);
  Require(message && message->records.size() == response.message.records.size(),
          "nothing is lost in the cache");
  for (std::size_t i = 0; i < message->records.size(); ++i) {
    const std::uint32_t left = message->records[i].ttl;
    Require(left > 0 && left + (lifetime - 1) <= response.message.records[i].ttl,
            "a TTL is counted down");
  }
  RequireReply(dns::MakeReply(query, *hit, dns::kMaxDnsMessage), query, dns::kMaxDnsMessage);
}

void AsResponse(dns::DnsView bytes) {
  std::size_t size = 0;
  const auto message = dns::ParseDnsMessageAtStart(bytes, size);
  if (!message || !message->question) return;
  Require(size <= bytes.size(), "a message is within its bytes");
  dns::DnsQuery query;
  query.id = 7;
  query.question = *message->question;
  const auto response = dns::ParseDnsResponse(bytes, query, message->header.id);
  if (!response) return;
  for (const bool edns : {false, true}) {
    if (edns) query.edns = dns::DnsEdns{.udp_bytes = 1232};
    for (const std::size_t max_bytes : {dns::kMinDnsUdpBytes, dns::kMaxDnsMessage}) {
      RequireReply(dns::MakeReply(query, response->bytes, max_bytes), query, max_bytes);
    }
  }
  Require(!response->message.edns || response->message.records.empty() ||
              std::none_of(
                  response->message.records.begin(), response->message.records.end(),
                  [](const dns::DnsRecord& record) { return record.type == dns::dns_type::kOpt; }),
          "OPT does not go on");
  RequireCached(query, *response);
}

}  // namespace
}  // namespace sluice::proxy

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  sluice::proxy::AsRequest({data, size});
  sluice::proxy::AsResponse({data, size});
  return 0;
}
