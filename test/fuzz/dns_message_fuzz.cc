// DNS messages: the same bytes as a client's, and as a server's answer.
#include <algorithm>
#include <chrono>
#include <optional>

#include "proxy/dns_cache.h"
#include "proxy/dns_message.h"
#include "test/fuzz/fuzz.h"

namespace sluice::proxy {
namespace {

using fuzz::Require;
using std::chrono::seconds;

// A reply of ours is a message that others can read, and about the question.
void RequireReply(DnsView reply, const DnsQuery& query, std::size_t max_bytes) {
  const auto message = ParseDnsMessage(reply);
  Require(message.has_value(), "a reply can be read");
  Require(message->header.id == query.id, "a reply has the client's id");
  Require((message->header.flags & dns_flag::kResponse) != 0, "a reply says that it is one");
  Require(message->question && message->question->name == query.question.name,
          "a reply repeats the question letter by letter");
  Require(message->edns.has_value() == query.edns.has_value(), "EDNS is answered with EDNS");
  // The longest question, with OPT, is below 512 bytes.
  Require(reply.size() <= std::max(max_bytes, kMinDnsUdpBytes), "a reply is not too long");
}

void AsRequest(DnsView bytes) {
  const DnsRequest request = ParseDnsRequest(bytes);
  if (request.verdict == DnsRequest::Verdict::kDrop) return;
  if (request.verdict == DnsRequest::Verdict::kRefuse) {
    Require(ParseDnsMessage(request.reply).has_value(), "a refusal can be read");
    return;
  }
  const auto upstream = ParseDnsRequest(MakeUpstreamQuery(request.query, 99));
  Require(upstream.verdict == DnsRequest::Verdict::kForward, "what is forwarded is a query");
  Require(upstream.query.id == 99, "what is forwarded has an id of its own");
  Require(upstream.query.Key() == request.query.Key(), "what is forwarded asks the same");
  RequireReply(MakeErrorReply(request.query, DnsRcode::kServFail), request.query, 512);
}

void RequireCached(const DnsQuery& query, const DnsResponse& response) {
  const DnsCache::Clock::time_point now{};
  const std::uint32_t lifetime = DnsCacheSeconds(query.question, response);
  DnsCache cache;
  cache.Put(query, response, now);
  Require(!cache.Get(query, now + seconds(lifetime)), "nothing is kept beyond its time");
  if (lifetime == 0) return;
  cache.Put(query, response, now);
  const auto hit = cache.Get(query, now + seconds(lifetime - 1));
  Require(hit.has_value(), "what may be kept is");
  const auto message = ParseDnsMessage(*hit);
  Require(message && message->records.size() == response.message.records.size(),
          "nothing is lost in the cache");
  for (std::size_t i = 0; i < message->records.size(); ++i) {
    const std::uint32_t left = message->records[i].ttl;
    Require(left > 0 && left + (lifetime - 1) <= response.message.records[i].ttl,
            "a TTL is counted down");
  }
  RequireReply(MakeReply(query, *hit, kMaxDnsMessage), query, kMaxDnsMessage);
}

void AsResponse(DnsView bytes) {
  const auto message = ParseDnsMessage(bytes);
  if (!message || !message->question) return;
  DnsQuery query;
  query.id = 7;
  query.question = *message->question;
  const auto response = ParseDnsResponse(bytes, query, message->header.id);
  if (!response) return;
  for (const bool edns : {false, true}) {
    if (edns) query.edns = DnsEdns{.udp_bytes = 1232};
    for (const std::size_t max_bytes : {kMinDnsUdpBytes, kMaxDnsMessage}) {
      RequireReply(MakeReply(query, response->bytes, max_bytes), query, max_bytes);
    }
  }
  Require(!response->message.edns || response->message.records.empty() ||
              std::none_of(response->message.records.begin(), response->message.records.end(),
                           [](const DnsRecord& record) { return record.type == dns_type::kOpt; }),
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
