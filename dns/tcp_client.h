// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <list>
#include <memory>
#include <optional>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include "dns/answerer.h"
#include "dns/message.h"

// Private to dns: it names Asio.
namespace sluice::dns {

// A client's connection (RFC 7766): accepts further questions without waiting for answers, and
// answers each as soon as possible, in any order. Closed when the client has finished and all is
// answered, on a message that is not a question, and when idle. For use by one thread.
class DnsTcpClient : public std::enable_shared_from_this<DnsTcpClient> {
 public:
  // The open clients; the list and `answerer` must outlive this.
  using Clients = std::list<DnsTcpClient*>;
  DnsTcpClient(boost::asio::ip::tcp::socket socket, const DnsForwarderOptions& options,
               DnsAnswerer& answerer, Clients& clients);
  ~DnsTcpClient();
  DnsTcpClient(const DnsTcpClient&) = delete;
  DnsTcpClient& operator=(const DnsTcpClient&) = delete;

  // Serves the client. The object keeps itself alive while there is something to do.
  void Run();

  // Closes the longest idle client, which removes it from `clients`. False when all wait for
  // answers.
  static bool CloseIdlest(const Clients& clients);

 private:
  using Clock = std::chrono::steady_clock;

  boost::asio::awaitable<void> Read();
  boost::asio::awaitable<void> Answer(DnsQuery query);
  boost::asio::awaitable<void> Write();
  void Watch();
  void Send(const DnsBytes& reply);
  void Close();
  void Leave();

  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer watchdog_;
  boost::asio::steady_timer has_room_;  // never expires; cancelled when a reply was taken
  std::chrono::milliseconds idle_;
  std::size_t max_pipelined_;
  DnsAnswerer& answerer_;
  DnsAnswerer::Source source_;
  Clients& clients_;
  std::optional<Clients::iterator> place_;  // in clients_, while open
  Clock::time_point last_activity_;
  std::size_t unanswered_ = 0;    // questions whose replies the client has not taken
  std::deque<DnsBytes> replies_;  // with length prefixes; the first is being written
};

}  // namespace sluice::dns
