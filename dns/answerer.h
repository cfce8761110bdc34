// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include <boost/asio/awaitable.hpp>

#include "dns/cache.h"
#include "dns/forwarder.h"
#include "dns/message.h"
#include "dns/upstream.h"

// What the forwarder answers, whichever way the question came. Not for others to include: it names
// Asio.
namespace sluice::dns {

// Used by one thread.
class DnsAnswerer {
 public:
  DnsAnswerer(const DnsForwarderOptions& options, DnsCounters& counters);

  // The reply to what a client sent when there is no need to wait for it: from the cache, an error,
  // or none to a message that is not to be answered. Nothing when `request` has to wait for Answer.
  std::optional<DnsBytes> AnswerNow(const DnsRequest& request, std::size_t max_bytes);

  // The reply to a question that AnswerNow left. The client of the same question that came first
  // asks the servers, the others wait for what it gets.
  boost::asio::awaitable<DnsBytes> Answer(DnsQuery query, std::size_t max_bytes);

  // Forgets who is waiting, after which nothing here belongs to an io_context.
  void Clear() { pending_.clear(); }

 private:
  struct Pending;

  bool HasRoomFor(const DnsQuestion& question) const;
  boost::asio::awaitable<std::shared_ptr<Pending>> Resolve(const DnsQuery& query);

  std::size_t max_in_flight_;
  std::size_t in_flight_ = 0;
  std::unordered_map<std::string, std::size_t> in_flight_of_zone_;  // no zeros
  DnsCounters& counters_;
  DnsUpstream upstream_;
  DnsCache cache_;
  std::unordered_map<std::string, std::shared_ptr<Pending>> pending_;
};

}  // namespace sluice::dns
