// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "dns/upstream.h"

#include <net/if.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include "base/error.h"
#include "base/parse.h"
#include "dns/wire.h"

namespace sluice::dns {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using asio::ip::udp;
using boost::system::error_code;

// How many mismatched responses to tolerate for one question. A forger needs many thousands to hit
// the id and the port; a late server sends one or two.
constexpr int kMaxMismatches = 64;
// How long to ask a server that stepped in first: each try of the failed one costs a timeout, but
// it should get another chance.
constexpr std::chrono::seconds kPreferredFor{30};
// We advertise 1,232 bytes for answers over UDP; some servers send up to the former
// 4,096.
constexpr std::size_t kReceiveBytes = 4096;

// RFC 5452, section 4.3: must be unpredictable.
std::uint16_t RandomId() {
  std::uint16_t id = 0;
  // At most 256 bytes: never interrupted, never short (getrandom(2)).
  if (getrandom(&id, sizeof(id), 0) == sizeof(id)) return id;
  return static_cast<std::uint16_t>(std::random_device()());
}

// Closes `socket` after `wait`, unless destroyed earlier.
template <typename Socket>
class Deadline {
 public:
  Deadline(const std::shared_ptr<Socket>& socket, std::chrono::milliseconds wait)
      : timer_(socket->get_executor(), wait) {
    timer_.async_wait(
        [weak = std::weak_ptr<Socket>(socket), over = over_](const error_code& failed) {
          const auto held = weak.lock();
          if (failed || !held) return;
          *over = true;
          error_code ignored;
          held->close(ignored);
        });
  }

  bool is_over() const { return *over_; }

 private:
  std::shared_ptr<bool> over_ = std::make_shared<bool>(false);
  asio::steady_timer timer_;
};

std::uint32_t ScopeId(const Nameserver& resolver) {
  if (resolver.scope.empty()) return 0;
  if (const unsigned index = if_nametoindex(resolver.scope.c_str()); index != 0) return index;
  try {
    return static_cast<std::uint32_t>(ParseDecimal(resolver.scope, 1, 0xffffffff));
  } catch (const std::invalid_argument&) {
    throw Error(ErrorKind::kUsage, {.doing = "use the DNS resolver " +
                                             resolver.address.ip.ToString() + "%" + resolver.scope,
                                    .target = {},
                                    .why = "there is no interface " + resolver.scope,
                                    .help = "correct the nameserver line in resolv.conf"});
  }
}

udp::endpoint ToEndpoint(const Nameserver& resolver) {
  asio::ip::address address = ToAsio(resolver.address.ip);
  if (address.is_v6()) {
    auto scoped = address.to_v6();
    scoped.scope_id(ScopeId(resolver));
    address = scoped;
  }
  return {address, resolver.address.port};
}

// Errors that are the server's fault, not the name's.
bool IsFromBrokenServer(const DnsResponse& response) {
  const DnsRcode rcode = response.rcode();
  return rcode == DnsRcode::kServFail || rcode == DnsRcode::kNotImp || rcode == DnsRcode::kRefused;
}

}  // namespace

asio::ip::address ToAsio(const IpAddress& address) {
  const auto bytes = address.bytes();
  if (address.is_v4()) {
    asio::ip::address_v4::bytes_type v4;
    std::copy(bytes.begin(), bytes.end(), v4.begin());
    return asio::ip::address_v4(v4);
  }
  asio::ip::address_v6::bytes_type v6;
  std::copy(bytes.begin(), bytes.end(), v6.begin());
  return asio::ip::address_v6(v6);
}

DnsUpstream::DnsUpstream(const DnsForwarderOptions& options, DnsCounters& counters)
    : timeout_(options.timeout), attempts_(options.attempts), counters_(counters) {
  for (const Nameserver& resolver : options.resolvers) servers_.push_back(ToEndpoint(resolver));
}

std::size_t DnsUpstream::FirstServer() const {
  return Clock::now() < preferred_until_ ? preferred_ : 0;
}

asio::awaitable<std::optional<DnsResponse>> DnsUpstream::Ask(const DnsQuery& query) {
  std::optional<DnsResponse> error;
  const std::size_t first = FirstServer();
  for (int attempt = 0; attempt < attempts_; ++attempt) {
    bool is_silence_heard = false;
    for (std::size_t i = 0; i < servers_.size(); ++i) {
      const std::size_t at = (first + i) % servers_.size();
      auto response = co_await AskServer(servers_[at], query);
      if (!response) {
        is_silence_heard = true;
      } else if (IsFromBrokenServer(*response)) {
        error = std::move(response);
      } else {
        if (i > 0) {
          preferred_ = at;
          preferred_until_ = Clock::now() + kPreferredFor;
        }
        co_return response;
      }
    }
    // Do not ask a server again that said that it cannot answer.
    if (!is_silence_heard) break;
  }
  Count(counters_.upstream_failures);
  co_return error;
}

asio::awaitable<std::optional<DnsResponse>> DnsUpstream::AskServer(Endpoint server,
                                                                   const DnsQuery& query) {
  auto response = co_await AskUdp(server, query);
  if (response && response->is_truncated()) {
    Count(counters_.tcp_retries);
    response = co_await AskTcp(server, query);
  }
  co_return response;
}

asio::awaitable<std::optional<DnsResponse>> DnsUpstream::AskUdp(Endpoint server,
                                                                const DnsQuery& query) {
  const auto socket = std::make_shared<udp::socket>(co_await asio::this_coro::executor);
  error_code error;
  // connect() binds to a random port chosen by the kernel, and accepts only packets from the
  // server's address.
  socket->open(server.protocol(), error);
  if (!error) socket->connect(server, error);
  if (error) co_return std::nullopt;
  const Deadline deadline(socket, timeout_);
  const std::uint16_t id = RandomId();
  const DnsBytes bytes = MakeUpstreamQuery(query, id);
  Count(counters_.upstream_queries);
  co_await socket->async_send(asio::buffer(bytes),
                              asio::redirect_error(asio::use_awaitable, error));
  DnsBytes received(kReceiveBytes);
  for (int mismatches = 0; !error && mismatches < kMaxMismatches; ++mismatches) {
    const std::size_t size = co_await socket->async_receive(
        asio::buffer(received), asio::redirect_error(asio::use_awaitable, error));
    if (error) break;
    auto response = ParseDnsResponse(DnsView(received).first(size), query, id);
    if (response) co_return response;
    Count(counters_.upstream_mismatches);
  }
  if (deadline.is_over()) Count(counters_.upstream_timeouts);
  co_return std::nullopt;
}

asio::awaitable<std::optional<DnsResponse>> DnsUpstream::AskTcp(Endpoint server,
                                                                const DnsQuery& query) {
  const auto socket = std::make_shared<tcp::socket>(co_await asio::this_coro::executor);
  error_code error;
  const tcp::endpoint endpoint(server.address(), server.port());
  socket->open(endpoint.protocol(), error);
  if (error) co_return std::nullopt;
  const Deadline deadline(socket, timeout_);
  const std::uint16_t id = RandomId();
  const DnsBytes bytes = MakeUpstreamQuery(query, id);
  std::array<std::uint8_t, 2> length{};
  SetDns16(length, 0, static_cast<std::uint16_t>(bytes.size()));
  const std::array<asio::const_buffer, 2> framed{asio::buffer(length), asio::buffer(bytes)};
  DnsBytes received;

  co_await socket->async_connect(endpoint, asio::redirect_error(asio::use_awaitable, error));
  if (!error) {
    Count(counters_.upstream_queries);
    co_await asio::async_write(*socket, framed, asio::redirect_error(asio::use_awaitable, error));
  }
  if (!error) {
    co_await asio::async_read(*socket, asio::buffer(length),
                              asio::redirect_error(asio::use_awaitable, error));
  }
  if (!error) {
    received.resize(GetDns16(length, 0));
    co_await asio::async_read(*socket, asio::buffer(received),
                              asio::redirect_error(asio::use_awaitable, error));
  }
  if (deadline.is_over()) Count(counters_.upstream_timeouts);
  if (error) co_return std::nullopt;
  auto response = ParseDnsResponse(received, query, id);
  if (!response) Count(counters_.upstream_mismatches);
  co_return response;
}

}  // namespace sluice::dns
