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

  // Who asks: the address and port of a client, as the bytes of a sockaddr.
  using Source = std::string;
  template <typename Endpoint>
  static Source SourceOf(const Endpoint& client) {
    return {reinterpret_cast<const char*>(client.data()), client.size()};
  }

  // The reply to a client's message that needs no waiting: from the cache, an error, or an empty
  // reply to a message that must not be answered. Nothing when `request` needs Answer.
  std::optional<DnsBytes> AnswerNow(const DnsRequest& request, const Source& source,
                                    std::size_t max_bytes);

  // The reply to a question that AnswerNow left open. Of the clients with the same question, the
  // first asks the servers and the others wait for its result.
  boost::asio::awaitable<DnsBytes> Answer(DnsQuery query, Source source, std::size_t max_bytes);

  // Forgets the waiting clients; afterwards nothing here belongs to an io_context.
  void Clear() { pending_.clear(); }

 private:
  struct Pending;

  // How many questions in flight have something in common, by what that is; no zeros.
  using Shares = std::unordered_map<std::string, std::size_t>;

  bool HasRoomFor(const Shares& shares, const std::string& key) const;
  boost::asio::awaitable<std::shared_ptr<Pending>> Resolve(const DnsQuery& query);

  std::size_t max_in_flight_;
  std::size_t in_flight_ = 0;
  Shares in_flight_of_zone_;
  Shares in_flight_of_source_;
  DnsCounters& counters_;
  DnsUpstream upstream_;
  DnsCache cache_;
  std::unordered_map<std::string, std::shared_ptr<Pending>> pending_;
};

}  // namespace sluice::dns
