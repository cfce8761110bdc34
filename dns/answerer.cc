// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "dns/answerer.h"

#include <utility>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace sluice::dns {
namespace {

namespace asio = boost::asio;

// Runs a function at the end of a scope, also when a coroutine is destroyed.
template <typename Function>
class AtEnd {
 public:
  explicit AtEnd(Function function) : function_(std::move(function)) {}
  ~AtEnd() { function_(); }
  AtEnd(const AtEnd&) = delete;
  AtEnd& operator=(const AtEnd&) = delete;

 private:
  Function function_;
};

void Leave(std::unordered_map<std::string, std::size_t>& shares, const std::string& key) {
  const auto found = shares.find(key);
  if (found != shares.end() && --found->second == 0) shares.erase(found);
}

}  // namespace

// A question in flight, shared by all clients that ask it.
struct DnsAnswerer::Pending {
  explicit Pending(const asio::any_io_executor& executor)
      : answered(executor, asio::steady_timer::time_point::max()) {}

  asio::steady_timer answered;  // never expires; cancelled when `response` is set
  std::optional<DnsResponse> response;
};

DnsAnswerer::DnsAnswerer(const DnsForwarderOptions& options, DnsCounters& counters)
    : max_in_flight_(options.max_in_flight),
      counters_(counters),
      upstream_(options, counters),
      cache_(options.cache) {}

std::optional<DnsBytes> DnsAnswerer::AnswerNow(const DnsRequest& request, const Source& source,
                                               std::size_t max_bytes) {
  if (request.handling != DnsRequest::Handling::kForward) {
    Count(counters_.refused_queries);
    return request.reply;
  }
  Count(counters_.queries);
  if (const auto hit = cache_.Get(request.query, DnsCache::Clock::now())) {
    Count(counters_.cache_hits);
    return MakeReply(request.query, *hit, max_bytes);
  }
  if (!HasRoomFor(in_flight_of_zone_, request.query.question.Zone()) ||
      !HasRoomFor(in_flight_of_source_, source)) {
    Count(counters_.over_limit);
    return MakeErrorReply(request.query, DnsRcode::kServFail);
  }
  return std::nullopt;
}

bool DnsAnswerer::HasRoomFor(const Shares& shares, const std::string& key) const {
  if (in_flight_ >= max_in_flight_) return false;
  const auto found = shares.find(key);
  return found == shares.end() || found->second < max_in_flight_ - in_flight_;
}

asio::awaitable<DnsBytes> DnsAnswerer::Answer(DnsQuery query, Source source,
                                              std::size_t max_bytes) {
  const std::string zone = query.question.Zone();
  const AtEnd leave([this, &zone, &source] {
    --in_flight_;
    Leave(in_flight_of_zone_, zone);
    Leave(in_flight_of_source_, source);
  });
  ++in_flight_;
  ++in_flight_of_zone_[zone];
  ++in_flight_of_source_[source];
  const std::shared_ptr<Pending> pending = co_await Resolve(query);
  if (!pending->response) co_return MakeErrorReply(query, DnsRcode::kServFail);
  co_return MakeReply(query, pending->response->bytes, max_bytes);
}

asio::awaitable<std::shared_ptr<DnsAnswerer::Pending>> DnsAnswerer::Resolve(const DnsQuery& query) {
  const std::string key = query.Key();
  if (const auto found = pending_.find(key); found != pending_.end()) {
    Count(counters_.coalesced);
    const std::shared_ptr<Pending> pending = found->second;
    boost::system::error_code cancelled;
    co_await pending->answered.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
    co_return pending;
  }
  const auto pending = std::make_shared<Pending>(co_await asio::this_coro::executor);
  pending_.emplace(key, pending);
  const AtEnd tell([this, &key, &pending] {
    pending_.erase(key);
    pending->answered.cancel();
  });
  pending->response = co_await upstream_.Ask(query);
  if (pending->response) cache_.Put(query, *pending->response, DnsCache::Clock::now());
  co_return pending;
}

}  // namespace sluice::dns
