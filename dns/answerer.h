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

// The forwarder's answers, for UDP and TCP alike. Private to dns: it names
// Asio.
namespace sluice::dns {

// For use by one thread.
class DnsAnswerer {
 public:
  DnsAnswerer(const DnsForwarderOptions& options, DnsCounters& counters);

  // The reply to a client's message that needs no waiting: from the cache, an error, or an empty
  // reply to a message that must not be answered. Nothing when `request` needs Answer.
  std::optional<DnsBytes> AnswerNow(const DnsRequest& request, std::size_t max_bytes);

  // The reply to a question that AnswerNow left open. Of the clients with the same question, the
  // first asks the servers and the others wait for its result.
  boost::asio::awaitable<DnsBytes> Answer(DnsQuery query, std::size_t max_bytes);

  // Forgets the waiting clients; afterwards nothing here belongs to an io_context.
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
