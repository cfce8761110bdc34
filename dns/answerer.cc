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

std::optional<DnsBytes> DnsAnswerer::AnswerNow(const DnsRequest& request, std::size_t max_bytes) {
  if (request.handling != DnsRequest::Handling::kForward) {
    Count(counters_.refused_queries);
    return request.reply;
  }
  Count(counters_.queries);
  if (const auto hit = cache_.Get(request.query, DnsCache::Clock::now())) {
    Count(counters_.cache_hits);
    return MakeReply(request.query, *hit, max_bytes);
  }
  if (!HasRoomFor(request.query.question)) {
    Count(counters_.over_limit);
    return MakeErrorReply(request.query, DnsRcode::kServFail);
  }
  return std::nullopt;
}

bool DnsAnswerer::HasRoomFor(const DnsQuestion& question) const {
  if (in_flight_ >= max_in_flight_) return false;
  const auto found = in_flight_of_zone_.find(question.Zone());
  return found == in_flight_of_zone_.end() || found->second < max_in_flight_ - in_flight_;
}

asio::awaitable<DnsBytes> DnsAnswerer::Answer(DnsQuery query, std::size_t max_bytes) {
  const std::string zone = query.question.Zone();
  ++in_flight_;
  ++in_flight_of_zone_[zone];
  const AtEnd leave([this, &zone] {
    --in_flight_;
    const auto found = in_flight_of_zone_.find(zone);
    if (--found->second == 0) in_flight_of_zone_.erase(found);
  });
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
