// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "dns/tcp_client.h"

#include <array>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include "dns/wire.h"

namespace sluice::dns {

namespace asio = boost::asio;
using boost::system::error_code;

DnsTcpClient::DnsTcpClient(asio::ip::tcp::socket socket, const DnsForwarderOptions& options,
                           DnsAnswerer& answerer, Clients& clients)
    : socket_(std::move(socket)),
      watchdog_(socket_.get_executor()),
      has_room_(socket_.get_executor(), Clock::time_point::max()),
      idle_(options.tcp_idle),
      max_pipelined_(options.max_pipelined),
      answerer_(answerer),
      clients_(clients),
      last_activity_(Clock::now()) {
  error_code gone;
  source_ = DnsAnswerer::SourceOf(socket_.remote_endpoint(gone));
  place_ = clients_.insert(clients_.end(), this);
}

DnsTcpClient::~DnsTcpClient() { Leave(); }

void DnsTcpClient::Leave() {
  if (place_) clients_.erase(*place_);
  place_.reset();
}

bool DnsTcpClient::CloseIdlest(const Clients& clients) {
  DnsTcpClient* idlest = nullptr;
  for (DnsTcpClient* const client : clients) {
    if (client->unanswered_ > 0) continue;
    if (!idlest || client->last_activity_ < idlest->last_activity_) idlest = client;
  }
  if (idlest) idlest->Close();
  return idlest != nullptr;
}

void DnsTcpClient::Run() {
  Watch();
  asio::co_spawn(
      socket_.get_executor(), [self = shared_from_this()] { return self->Read(); }, asio::detached);
}

asio::awaitable<void> DnsTcpClient::Read() {
  error_code error;
  while (socket_.is_open()) {
    std::array<std::uint8_t, 2> length{};
    co_await asio::async_read(socket_, asio::buffer(length),
                              asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
    DnsBytes message(GetDns16(length, 0));
    co_await asio::async_read(socket_, asio::buffer(message),
                              asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
    last_activity_ = Clock::now();
    DnsRequest request = ParseDnsRequest(message);
    ++unanswered_;
    if (const auto reply = answerer_.AnswerNow(request, source_, kMaxDnsMessage)) {
      if (reply->empty()) co_return Close();
      Send(*reply);
    } else {
      asio::co_spawn(
          socket_.get_executor(),
          [self = shared_from_this(), query = std::move(request.query)]() mutable {
            return self->Answer(std::move(query));
          },
          asio::detached);
    }
    while (unanswered_ >= max_pipelined_ && socket_.is_open()) {
      co_await has_room_.async_wait(asio::redirect_error(asio::use_awaitable, error));
    }
  }
}

asio::awaitable<void> DnsTcpClient::Answer(DnsQuery query) {
  Send(co_await answerer_.Answer(std::move(query), source_, kMaxDnsMessage));
}

void DnsTcpClient::Send(const DnsBytes& reply) {
  DnsBytes framed(2);
  SetDns16(framed, 0, static_cast<std::uint16_t>(reply.size()));
  framed.insert(framed.end(), reply.begin(), reply.end());
  replies_.push_back(std::move(framed));
  if (replies_.size() > 1) return;  // a Write is in progress
  asio::co_spawn(
      socket_.get_executor(), [self = shared_from_this()] { return self->Write(); },
      asio::detached);
}

asio::awaitable<void> DnsTcpClient::Write() {
  while (!replies_.empty()) {
    error_code error;
    co_await asio::async_write(socket_, asio::buffer(replies_.front()),
                               asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return Close();
    replies_.pop_front();
    --unanswered_;
    last_activity_ = Clock::now();
    has_room_.cancel();
  }
}

void DnsTcpClient::Watch() {
  watchdog_.expires_at(last_activity_ + idle_);
  watchdog_.async_wait([weak = weak_from_this()](const error_code& failed) {
    const auto self = weak.lock();
    if (failed || !self || !self->socket_.is_open()) return;
    if (Clock::now() - self->last_activity_ >= self->idle_) return self->Close();
    self->Watch();
  });
}

void DnsTcpClient::Close() {
  Leave();
  error_code ignored;
  socket_.close(ignored);
  has_room_.cancel();
}

}  // namespace sluice::dns
