// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "dns/forwarder.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/error.h"
#include "base/os/signals_blocked.h"
#include "base/unique_fd.h"
#include "dns/answerer.h"
#include "dns/tcp_client.h"
#include "dns/upstream.h"

namespace sluice::dns {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using asio::ip::udp;
using boost::system::error_code;

// Pause after a failure to receive or accept (no descriptors, no memory) that would repeat at once.
constexpr std::chrono::milliseconds kPause{50};
constexpr int kBacklog = 64;  // twice the number of clients served at a time

Error OptionError(std::string why, std::string help) {
  return Error(ErrorKind::kUsage, {.doing = "set up the DNS forwarder",
                                   .target = {},
                                   .why = std::move(why),
                                   .help = std::move(help)});
}

// True if this host can bind a socket to `address`; otherwise `saved_errno` says why.
bool CanBind(const IpAddress& address, int& saved_errno) {
  sockaddr_storage storage{};
  const auto length = ToSockaddr({address, 0}, storage);
  const UniqueFd fd(socket(storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (fd && bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), length) == 0) return true;
  saved_errno = errno;
  return false;
}

bool IsOurs(const SocketAddress& resolver, const SocketAddress& listen) {
  if (resolver.port != listen.port) return false;
  if (resolver.ip == listen.ip) return true;
  int ignored = 0;
  return listen.ip.IsUnspecified() && resolver.ip.family() == listen.ip.family() &&
         CanBind(resolver.ip, ignored);
}

void Check(const DnsForwarderOptions& options) {
  if (options.listen.empty()) throw OptionError("no address to listen on", "give --dns-port");
  if (options.resolvers.empty()) {
    throw OptionError("no resolver to ask", "add a nameserver line to resolv.conf");
  }
  if (options.timeout.count() <= 0 || options.attempts <= 0 || options.max_in_flight == 0 ||
      options.max_pipelined == 0 || options.tcp_idle.count() <= 0) {
    throw OptionError("a timeout or a limit is zero", "leave it at its default");
  }
  for (const Nameserver& resolver : options.resolvers) {
    for (const SocketAddress& listen : options.listen) {
      if (!IsOurs(resolver.address, listen)) continue;
      throw OptionError("the resolver " + resolver.address.ToString() +
                            " is this forwarder itself, so that a query would go round for ever",
                        "name the real resolver in resolv.conf, or choose another --dns-port");
    }
  }
}

using ReusePort = asio::detail::socket_option::boolean<SOL_SOCKET, SO_REUSEPORT>;

// Opens `socket`, a datagram socket or an acceptor, and binds it.
template <typename Socket>
void OpenAndBind(Socket& socket, const typename Socket::protocol_type& protocol,
                 const SocketAddress& address, error_code& error) {
  socket.open(protocol, error);
  // During a hand-over the new proxy listens at the same time.
  if (!error) socket.set_option(ReusePort(true), error);
  if constexpr (std::is_same_v<Socket, tcp::acceptor>) {
    // Connections of an earlier process may be in TIME_WAIT.
    if (!error) socket.set_option(tcp::acceptor::reuse_address(true), error);
  }
  if (!error && !address.ip.is_v4()) socket.set_option(asio::ip::v6_only(true), error);
  if (!error) socket.non_blocking(true, error);
  if (!error) socket.bind({ToAsio(address.ip), address.port}, error);
}

void ThrowIf(const error_code& error, const char* what, const SocketAddress& address) {
  if (!error) return;
  throw SystemError(error.value(), std::string("listen for DNS over ") + what, address.ToString(),
                    error.value() == EADDRINUSE ? "choose another --dns-port" : "");
}

}  // namespace

class DnsForwarder::Impl {
 public:
  explicit Impl(DnsForwarderOptions options)
      : options_(std::move(options)), answerer_(options_, counters_) {}

  ~Impl() { Stop(); }

  void Listen() {
    try {
      for (const SocketAddress& address : options_.listen) Listen(address);
      is_listening_ = true;
    } catch (...) {
      Stop();
      throw;
    }
  }

  void Start() {
    if (!is_listening_) Listen();
    try {
      RunThread();
    } catch (...) {
      Stop();
      throw;
    }
  }

  void Stop() {
    if (!context_) return;
    context_->stop();
    if (thread_.joinable()) thread_.join();
    answerer_.Clear();
    context_.reset();  // destroys every coroutine, and thereby every socket
  }

  DnsStats stats() const {
    const auto read = [](const DnsCounters::Counter& counter) {
      return counter.load(std::memory_order_relaxed);
    };
    return {.queries = read(counters_.queries),
            .cache_hits = read(counters_.cache_hits),
            .coalesced = read(counters_.coalesced),
            .refused_queries = read(counters_.refused_queries),
            .over_limit = read(counters_.over_limit),
            .upstream_queries = read(counters_.upstream_queries),
            .upstream_timeouts = read(counters_.upstream_timeouts),
            .upstream_mismatches = read(counters_.upstream_mismatches),
            .tcp_retries = read(counters_.tcp_retries),
            .upstream_failures = read(counters_.upstream_failures)};
  }

 private:
  using UdpSocket = std::shared_ptr<udp::socket>;

  void RunThread() {
    const SignalsBlocked for_the_threads_that_expect_them;
    thread_ = std::thread([this] { context_->run(); });
    pthread_setname_np(thread_.native_handle(), "sluice-dns");
  }

  void Listen(const SocketAddress& address) {
    error_code error;
    const bool v4 = address.ip.is_v4();
    const auto datagrams = std::make_shared<udp::socket>(*context_);
    OpenAndBind(*datagrams, v4 ? udp::v4() : udp::v6(), address, error);
    ThrowIf(error, "UDP", address);
    tcp::acceptor acceptor(*context_);
    OpenAndBind(acceptor, v4 ? tcp::v4() : tcp::v6(), address, error);
    if (!error) acceptor.listen(kBacklog, error);
    ThrowIf(error, "TCP", address);
    asio::co_spawn(
        *context_, [this, datagrams] { return Receive(datagrams); }, asio::detached);
    asio::co_spawn(
        *context_,
        [this, held = std::make_shared<tcp::acceptor>(std::move(acceptor))] {
          return Accept(held);
        },
        asio::detached);
  }

  static asio::awaitable<void> Pause() {
    asio::steady_timer timer(co_await asio::this_coro::executor, kPause);
    error_code ignored;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }

  asio::awaitable<void> Receive(UdpSocket socket) {
    DnsBytes buffer(kDnsUdpPayload);  // the size that we advertise; longer messages do not parse
    while (true) {
      udp::endpoint client;
      error_code error;
      const std::size_t size = co_await socket->async_receive_from(
          asio::buffer(buffer), client, asio::redirect_error(asio::use_awaitable, error));
      if (error) {
        co_await Pause();
      } else {
        HandleDatagram(socket, client, DnsView(buffer).first(size));
      }
    }
  }

  void HandleDatagram(const UdpSocket& socket, const udp::endpoint& client, DnsView bytes) {
    try {
      DnsRequest request = ParseDnsRequest(bytes);
      const std::size_t max_bytes = request.query.MaxUdpBytes();
      DnsAnswerer::Source source = DnsAnswerer::SourceOf(client);
      if (const auto reply = answerer_.AnswerNow(request, source, max_bytes)) {
        return SendDatagram(*socket, client, *reply);
      }
      asio::co_spawn(
          *context_,
          [this, socket, client, max_bytes, query = std::move(request.query),
           source = std::move(source)]() mutable {
            return AnswerDatagram(std::move(socket), client, std::move(query), std::move(source),
                                  max_bytes);
          },
          asio::detached);
    } catch (const std::bad_alloc&) {
      Count(counters_.over_limit);  // as if the network had lost the datagram
    }
  }

  asio::awaitable<void> AnswerDatagram(UdpSocket socket, udp::endpoint client, DnsQuery query,
                                       DnsAnswerer::Source source, std::size_t max_bytes) {
    const DnsBytes reply =
        co_await answerer_.Answer(std::move(query), std::move(source), max_bytes);
    SendDatagram(*socket, client, reply);
  }

  // A datagram that cannot be sent now is dropped, as a network would.
  static void SendDatagram(udp::socket& socket, const udp::endpoint& client,
                           const DnsBytes& reply) {
    error_code ignored;
    if (!reply.empty()) socket.send_to(asio::buffer(reply), client, 0, ignored);
  }

  asio::awaitable<void> Accept(std::shared_ptr<tcp::acceptor> acceptor) {
    while (true) {
      error_code error;
      tcp::socket socket =
          co_await acceptor->async_accept(asio::redirect_error(asio::use_awaitable, error));
      if (error) {
        co_await Pause();
      } else if (tcp_clients_.size() < options_.max_tcp_clients) {
        Serve(std::move(socket));
      } else {
        Count(counters_.over_limit);
        if (DnsTcpClient::CloseIdlest(tcp_clients_)) Serve(std::move(socket));
      }
    }
  }

  void Serve(tcp::socket socket) {
    try {
      std::make_shared<DnsTcpClient>(std::move(socket), options_, answerer_, tcp_clients_)->Run();
    } catch (const std::bad_alloc&) {
      Count(counters_.over_limit);
    }
  }

  DnsForwarderOptions options_;
  DnsCounters counters_;
  bool is_listening_ = false;
  DnsTcpClient::Clients tcp_clients_;
  DnsAnswerer answerer_;
  std::unique_ptr<asio::io_context> context_ = std::make_unique<asio::io_context>(1);
  std::thread thread_;
};

DnsForwarder::DnsForwarder(DnsForwarderOptions options) {
  Check(options);
  impl_ = std::make_unique<Impl>(std::move(options));
}

DnsForwarder::~DnsForwarder() = default;

void DnsForwarder::Listen() { impl_->Listen(); }

void DnsForwarder::Start() { impl_->Start(); }

void DnsForwarder::Stop() { impl_->Stop(); }

DnsStats DnsForwarder::stats() const { return impl_->stats(); }

std::vector<SocketAddress> DnsListenAddresses(std::uint16_t port) {
  const SocketAddress v6{IpAddress::Parse("::1"), port};
  int saved_errno = 0;
  // Start reports any other failure.
  const bool has_v6 =
      CanBind(v6.ip, saved_errno) || (saved_errno != EADDRNOTAVAIL && saved_errno != EAFNOSUPPORT);
  std::vector<SocketAddress> out{{IpAddress::V4(127, 0, 0, 1), port}};
  if (has_v6) out.push_back(v6);
  return out;
}

}  // namespace sluice::dns
