// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/control/http_server.h"

#include <chrono>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include "base/error.h"

namespace sluice::proxy {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;

using ReusePort = asio::detail::socket_option::boolean<SOL_SOCKET, SO_REUSEPORT>;

// A kubelet or a scraper sends a few hundred bytes.
constexpr std::uint32_t kMaxHeaderBytes = 8 * 1024;
constexpr std::uint64_t kMaxBodyBytes = 1024;
// Per request; also how long an unused connection is kept.
constexpr std::chrono::seconds kTimeout{30};
// Scrapers and probes of one pod; beyond that the control path would eat the relay's descriptors.
constexpr int kMaxConnections = 64;
// After accept failed for want of descriptors.
constexpr std::chrono::milliseconds kAcceptPause{200};

// One connection: reads a request, answers, again. Kept alive by what is under way.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, const HttpHandler& handler, int& open)
      : stream_(std::move(socket)), handler_(handler), open_(open) {
    ++open_;
  }
  ~Connection() { --open_; }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void Read() {
    parser_.emplace();
    parser_->header_limit(kMaxHeaderBytes);
    parser_->body_limit(kMaxBodyBytes);
    stream_.expires_after(kTimeout);
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](beast::error_code error, std::size_t) {
                       if (!error) self->Answer();
                     });
  }

 private:
  void Answer() {
    const auto& request = parser_->get();
    const std::string target(request.target());
    const auto query = target.find('?');
    const HttpResponse answer =
        handler_({.method = std::string(request.method_string()),
                  .path = target.substr(0, query),
                  .query = query == std::string::npos ? std::string() : target.substr(query + 1)});
    response_ = {};
    response_.version(request.version());
    response_.keep_alive(request.keep_alive());
    response_.result(static_cast<unsigned>(answer.status));
    response_.set(http::field::content_type, answer.content_type);
    response_.set(http::field::server, "sluice");
    response_.body() = request.method() == http::verb::head ? std::string() : answer.body;
    response_.content_length(answer.body.size());
    http::async_write(stream_, response_,
                      [self = shared_from_this()](beast::error_code error, std::size_t) {
                        if (error) return;
                        if (self->response_.keep_alive()) {
                          self->Read();
                        } else {
                          self->stream_.socket().shutdown(tcp::socket::shutdown_send, error);
                        }
                      });
  }

  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
  const HttpHandler& handler_;
  int& open_;
};

class Acceptor {
 public:
  Acceptor(asio::io_context& io, HttpHandler handler, int& open)
      : acceptor_(io), pause_(io), handler_(std::move(handler)), open_(open) {}

  // False when the kernel does not have this family.
  bool Listen(const tcp::endpoint& endpoint) {
    boost::system::error_code error;
    acceptor_.open(endpoint.protocol(), error);
    if (error == asio::error::address_family_not_supported) return false;
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    // A proxy that takes this one's place listens beside it for a while.
    if (!error) acceptor_.set_option(ReusePort(true), error);
    if (!error && endpoint.protocol() == tcp::v6()) {
      acceptor_.set_option(asio::ip::v6_only(true), error);
    }
    if (!error) acceptor_.bind(endpoint, error);
    if (error == boost::system::errc::address_not_available && endpoint.protocol() == tcp::v6()) {
      return false;
    }
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error) {
      throw SystemError(error.value(), "listen", "port " + std::to_string(endpoint.port()),
                        error == asio::error::address_in_use
                            ? "another process listens there; `ss -ltnp` names it"
                            : "");
    }
    return true;
  }

  void Accept() {
    acceptor_.async_accept([this](boost::system::error_code error, tcp::socket socket) {
      if (error == asio::error::operation_aborted) return;
      if (error) {
        // Descriptors or memory ran out: not at once again.
        pause_.expires_after(kAcceptPause);
        pause_.async_wait([this](boost::system::error_code stopped) {
          if (!stopped) Accept();
        });
        return;
      }
      if (open_ < kMaxConnections) {
        std::make_shared<Connection>(std::move(socket), handler_, open_)->Read();
      }
      Accept();
    });
  }

 private:
  tcp::acceptor acceptor_;
  asio::steady_timer pause_;
  const HttpHandler handler_;
  int& open_;
};

}  // namespace

class HttpServers::Impl {
 public:
  // Connections are counted here, and are destroyed with io_.
  int open = 0;
  asio::io_context io{1};
  std::vector<std::unique_ptr<Acceptor>> acceptors;
  std::thread thread;
};

HttpServers::HttpServers() : impl_(std::make_unique<Impl>()) {}

HttpServers::~HttpServers() {
  impl_->io.stop();
  if (impl_->thread.joinable()) impl_->thread.join();
}

void HttpServers::Listen(std::uint16_t port, bool loopback_only, HttpHandler handler) {
  for (const bool v6 : {false, true}) {
    const asio::ip::address address =
        v6 ? asio::ip::address(loopback_only ? asio::ip::address_v6::loopback()
                                             : asio::ip::address_v6::any())
           : asio::ip::address(loopback_only ? asio::ip::address_v4::loopback()
                                             : asio::ip::address_v4::any());
    auto acceptor = std::make_unique<Acceptor>(impl_->io, handler, impl_->open);
    if (acceptor->Listen({address, port})) impl_->acceptors.push_back(std::move(acceptor));
  }
}

void HttpServers::Start() {
  for (const auto& acceptor : impl_->acceptors) acceptor->Accept();
  impl_->thread = std::thread([this] { impl_->io.run(); });
}

}  // namespace sluice::proxy
