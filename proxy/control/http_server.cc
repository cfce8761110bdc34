// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/control/http_server.h"

#include <chrono>
#include <functional>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
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
// For each request and response; also for an unused connection.
constexpr std::chrono::seconds kTimeout{30};
// Per port, so that no port takes another's: a pod has a handful of probes and scrapers. Three
// ports together stay below what proxy.cc reserves for the control path.
constexpr std::size_t kMaxConnections = 20;
// After accept failed for lack of descriptors.
constexpr std::chrono::milliseconds kAcceptPause{200};

class Connection;

// Shared by the listeners of one port.
struct Port {
  HttpHandler handler;
  // The connection longest without a request comes first.
  std::list<Connection*> open = {};
};

// One connection: reads a request, answers, repeats. Pending operations keep it alive.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, std::shared_ptr<Port> port)
      : stream_(std::move(socket)), port_(std::move(port)) {
    if (port_->open.size() >= kMaxConnections) port_->open.front()->Close();
    place_ = port_->open.insert(port_->open.end(), this);
  }
  ~Connection() { Leave(); }
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
  using Request = http::request<http::string_body>;

  void Close() {
    Leave();
    stream_.close();
  }

  void Leave() {
    if (place_) port_->open.erase(*place_);
    place_.reset();
  }

  static std::string Field(const Request& request, std::string_view name) {
    return std::string(request[name]);
  }

  // Continues after a successful operation.
  template <typename Function>
  auto Then(Function function) {
    return [self = shared_from_this(), function](beast::error_code error, std::size_t) {
      if (!error) function();
    };
  }

  void Answer() {
    if (!place_) return;  // closed to make room
    port_->open.splice(port_->open.end(), port_->open, *place_);
    stream_.expires_after(kTimeout);
    const Request& request = parser_->get();
    const std::string target(request.target());
    const auto query = target.find('?');
    HttpResponse answer = port_->handler(
        {.method = std::string(request.method_string()),
         .path = target.substr(0, query),
         .query = query == std::string::npos ? std::string() : target.substr(query + 1),
         .host = Field(request, "Host"),
         .origin = Field(request, "Origin"),
         .fetch_site = Field(request, "Sec-Fetch-Site"),
         .authorization = Field(request, "Authorization")});
    const bool head_only = request.method() == http::verb::head;
    is_chunked_ = answer.next_piece && request.version() >= 11;
    next_piece_ = head_only ? nullptr : std::move(answer.next_piece);
    response_ = {};
    response_.version(request.version());
    response_.keep_alive(request.keep_alive() && (!next_piece_ || is_chunked_));
    response_.result(static_cast<unsigned>(answer.status));
    response_.set(http::field::content_type, answer.content_type);
    response_.set(http::field::server, "sluice");
    if (is_chunked_) {
      response_.chunked(true);
    } else if (!next_piece_) {
      response_.content_length(answer.body.size());
    }
    body_ = head_only ? std::string() : std::move(answer.body);
    serializer_.emplace(response_);
    http::async_write_header(stream_, *serializer_, Then([this] { WriteBody(); }));
  }

  void WriteBody() {
    if (!next_piece_) return body_.empty() ? End() : WritePiece();
    if (body_.empty()) body_ = next_piece_();
    if (!body_.empty()) return WritePiece();
    next_piece_ = nullptr;
    if (!is_chunked_) return End();
    asio::async_write(stream_, http::make_chunk_last(), Then([this] { End(); }));
  }

  void WritePiece() {
    const auto taken = Then([this] {
      body_ = {};
      WriteBody();
    });
    if (is_chunked_) {
      asio::async_write(stream_, http::make_chunk(asio::buffer(body_)), taken);
    } else {
      asio::async_write(stream_, asio::buffer(body_), taken);
    }
  }

  void End() {
    if (response_.keep_alive()) return Read();
    beast::error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
  }

  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::empty_body> response_;
  std::optional<http::response_serializer<http::empty_body>> serializer_;
  std::string body_;
  std::function<std::string()> next_piece_;
  bool is_chunked_ = false;
  std::shared_ptr<Port> port_;
  std::optional<std::list<Connection*>::iterator> place_;  // in port_->open
};

class Acceptor {
 public:
  Acceptor(asio::io_context& io, std::shared_ptr<Port> port)
      : acceptor_(io), pause_(io), port_(std::move(port)) {}

  // False when the kernel lacks this family.
  bool Listen(const tcp::endpoint& endpoint) {
    boost::system::error_code error;
    acceptor_.open(endpoint.protocol(), error);
    if (error == asio::error::address_family_not_supported) return false;
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    // During a hand-over the new proxy listens at the same time.
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
        // Descriptors or memory ran out: retry later.
        pause_.expires_after(kAcceptPause);
        pause_.async_wait([this](boost::system::error_code stopped) {
          if (!stopped) Accept();
        });
        return;
      }
      std::make_shared<Connection>(std::move(socket), port_)->Read();
      Accept();
    });
  }

 private:
  tcp::acceptor acceptor_;
  asio::steady_timer pause_;
  std::shared_ptr<Port> port_;
};

}  // namespace

class HttpServers::Impl {
 public:
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
  const auto shared = std::make_shared<Port>(Port{.handler = std::move(handler)});
  for (const bool v6 : {false, true}) {
    const asio::ip::address address =
        v6 ? asio::ip::address(loopback_only ? asio::ip::address_v6::loopback()
                                             : asio::ip::address_v6::any())
           : asio::ip::address(loopback_only ? asio::ip::address_v4::loopback()
                                             : asio::ip::address_v4::any());
    auto acceptor = std::make_unique<Acceptor>(impl_->io, shared);
    if (acceptor->Listen({address, port})) impl_->acceptors.push_back(std::move(acceptor));
  }
}

void HttpServers::Start() {
  for (const auto& acceptor : impl_->acceptors) acceptor->Accept();
  impl_->thread = std::thread([this] { impl_->io.run(); });
}

}  // namespace sluice::proxy
