// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "inject/webhook/server.h"

#include <csignal>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <list>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "base/error.h"
#include "base/text/utc_time.h"
#include "inject/webhook/admission.h"
#include "inject/webhook/body.h"
#include "inject/webhook/metrics.h"
#include "tls/certificate.h"

namespace sluice::inject::webhook {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace json = boost::json;
namespace ssl = boost::asio::ssl;
using asio::ip::tcp;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kMaxHeaderBytes = 16 * 1024;
// An object in etcd has 1.5 MiB at most, and an API server's request 3 MiB.
constexpr std::uint64_t kMaxBodyBytes = 4 * 1024 * 1024;
constexpr seconds kHandshakeTimeout{10};
// For a request from its first byte, and for the response. We ask the API server to wait 5 s.
constexpr seconds kRequestTimeout{10};
// Between requests. Go's client closes idle connections after 90 s; if the server closes first, a
// request may be on its way.
constexpr seconds kIdleTimeout{180};
// For requests in progress when the drain ends.
constexpr seconds kLastTimeout{10};
// A check is two reads. The kubelet takes up to a minute to update a Secret.
constexpr seconds kReloadInterval{2};
// After accept failed for lack of descriptors.
constexpr std::chrono::milliseconds kAcceptPause{200};

void Log(const char* level, std::string_view message, json::object fields = {}) {
  json::object line{{"time", UtcTime(std::chrono::system_clock::now(), 3)},
                    {"level", level},
                    {"message", message}};
  for (auto& [key, value] : fields) line[key] = std::move(value);
  const std::string text = json::serialize(line) + "\n";
  std::fwrite(text.data(), 1, text.size(), stderr);
}

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file || text.empty()) {
    throw Error(ErrorKind::kUsage, {.doing = "read the certificate and its key",
                                    .target = path,
                                    .why = text.empty() && file ? "it is empty"
                                                                : "no such file, "
                                                                  "or no permission to read it",
                                    .help = "`sluice-inject certificate` makes both"});
  }
  return text;
}

// The TLS settings of connections. A connection keeps those it began with.
struct Credentials {
  std::string certificate;
  std::string key;
  std::chrono::sys_seconds expiry;
  ssl::context context{ssl::context::tls_server};
};

std::shared_ptr<Credentials> MakeCredentials(std::string certificate, std::string key,
                                             const std::string& name) {
  auto out = std::make_shared<Credentials>();
  out->expiry = tls::ExpiryOf(certificate, name);
  out->context.set_options(ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1 |
                           ssl::context::no_compression);
  SSL_CTX_set_options(out->context.native_handle(), SSL_OP_NO_RENEGOTIATION);
  // A key with a passphrase is an error, not a question on the terminal.
  out->context.set_password_callback(
      [](std::size_t, ssl::context::password_purpose) { return std::string(); });
  beast::error_code error;
  out->context.use_certificate_chain(asio::buffer(certificate), error);
  if (!error) out->context.use_private_key(asio::buffer(key), ssl::context::pem, error);
  if (error) {
    throw Error(ErrorKind::kUsage, {.doing = "use the certificate and its key",
                                    .target = name,
                                    .why = error.message(),
                                    .help = {}});
  }
  out->certificate = std::move(certificate);
  out->key = std::move(key);
  return out;
}

class Connection;

// Shared by all connections.
struct State {
  const ServerOptions& options;
  const Decide& decide;
  BodyBudget bodies;
  Metrics metrics = {};
  std::shared_ptr<Credentials> credentials = {};
  bool draining = false;  // responses announce that the connection closes
  bool ending = false;    // no further requests
  // The connection longest without a request comes first.
  std::list<Connection*> open = {};
};

// One connection: reads a request, answers, repeats. Pending operations keep it alive.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, State& state)
      : state_(state),
        credentials_(state.credentials),
        stream_(beast::tcp_stream(std::move(socket)), credentials_->context) {
    ++state_.metrics.connections_total;
    if (state_.open.size() >= state_.options.max_connections) {
      ++state_.metrics.connections_refused_total;
      state_.open.front()->Close();
    }
    place_ = state_.open.insert(state_.open.end(), this);
    state_.metrics.connections = state_.open.size();
  }
  ~Connection() { Leave(); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void Start() {
    Socket().expires_after(kHandshakeTimeout);
    stream_.async_handshake(ssl::stream_base::server,
                            [self = shared_from_this()](beast::error_code error) {
                              if (error) {
                                ++self->state_.metrics.connections_refused_total;
                                return;
                              }
                              self->Wait();
                            });
  }

  // Closes the connection if no request is in progress.
  void EndWhenIdle() {
    if (idle_) Close();
  }

  void Close() {
    Leave();
    Socket().close();
  }

 private:
  using Response = http::response<http::string_body>;

  beast::tcp_stream& Socket() { return stream_.next_layer(); }

  void Leave() {
    if (!place_) return;
    state_.open.erase(*place_);
    place_.reset();
    state_.metrics.connections = state_.open.size();
  }

  // Waits for the first byte of a request.
  void Wait() {
    if (!place_) return;
    if (buffer_.size() > 0) return Read();
    if (state_.ending) return Close();
    idle_ = true;
    Socket().expires_after(kIdleTimeout);
    stream_.async_read_some(buffer_.prepare(kReadBytes),
                            [self = shared_from_this()](beast::error_code error, std::size_t size) {
                              self->idle_ = false;
                              if (error) return;
                              self->buffer_.commit(size);
                              self->Read();
                            });
  }

  void Read() {
    parser_.emplace();
    parser_->get().body().TakeFrom(state_.bodies);
    parser_->header_limit(kMaxHeaderBytes);
    parser_->body_limit(kMaxBodyBytes);
    Socket().expires_after(kRequestTimeout);
    http::async_read(
        stream_, buffer_, *parser_,
        [self = shared_from_this()](beast::error_code error, std::size_t) { self->Answer(error); });
  }

  void Answer(beast::error_code error) {
    if (!place_) return;  // closed to make room
    state_.open.splice(state_.open.end(), state_.open, *place_);
    if (!error) {
      Response response = Handle(parser_->get());
      // While the response is written, others may need the memory.
      parser_->get().body().Clear();
      return Send(std::move(response), parser_->get().keep_alive());
    }
    if (error == boost::system::errc::not_enough_memory) {
      parser_->get().body().Clear();
      ++state_.metrics.bodies_refused_total;
      Log("warning", "no memory for the body: there are too many large ones");
      Response response =
          Plain(http::status::service_unavailable, "too many large bodies at once\n");
      response.set(http::field::retry_after, "1");
      return Send(std::move(response), false);
    }
    if (error == http::error::body_limit) {
      return Send(Plain(http::status::payload_too_large, "the body is too large\n"), false);
    }
    if (error == http::error::header_limit) {
      return Send(Plain(http::status::request_header_fields_too_large, "too many headers\n"),
                  false);
    }
    const bool malformed =
        error.category() == beast::error_code(http::error::bad_method).category();
    if (malformed && error != http::error::end_of_stream && error != http::error::partial_message) {
      Send(Plain(http::status::bad_request, "this is not HTTP\n"), false);
    }
  }

  static Response Plain(http::status status, std::string body) {
    Response response(status, 11);
    response.set(http::field::content_type, "text/plain; charset=utf-8");
    response.body() = std::move(body);
    return response;
  }

  static Response NotAllowed(const char* methods) {
    Response response = Plain(http::status::method_not_allowed, "the method is not allowed\n");
    response.set(http::field::allow, methods);
    return response;
  }

  Response Handle(const http::request<BudgetedBody>& request) {
    const std::string_view target(request.target().data(), request.target().size());
    const std::string_view path = target.substr(0, target.find('?'));
    const bool reads = request.method() == http::verb::get || request.method() == http::verb::head;
    if (path == "/inject") {
      return request.method() == http::verb::post ? HandleReview(request) : NotAllowed("POST");
    }
    if (path != "/healthz" && path != "/healthz/ready" && path != "/metrics") {
      return Plain(http::status::not_found,
                   "there is /inject, /healthz, /healthz/ready and "
                   "/metrics\n");
    }
    if (!reads) return NotAllowed("GET, HEAD");
    if (path == "/metrics") {
      state_.metrics.body_memory_bytes = state_.bodies.taken();
      Response response = Plain(http::status::ok, state_.metrics.Text());
      response.set(http::field::content_type, "text/plain; version=0.0.4; charset=utf-8");
      return response;
    }
    if (path == "/healthz/ready" && state_.draining) {
      return Plain(http::status::service_unavailable, "draining\n");
    }
    return Plain(http::status::ok, "ok\n");
  }

  Response HandleReview(const http::request<BudgetedBody>& request) {
    const auto type = request[http::field::content_type];
    const std::string_view media(type.data(), type.size());
    if (!beast::iequals(media.substr(0, media.find(';')), "application/json")) {
      return Plain(http::status::unsupported_media_type,
                   "the content type has to be application/json\n");
    }
    const auto begin = Clock::now();
    webhook::Answer answer = Review(request.body().text(), state_.options.version, state_.decide);
    const auto took = Clock::now() - begin;
    state_.metrics.CountReview(answer.kind, took);
    json::object fields{
        {"result", NameOf(answer.kind)},
        {"uid", answer.uid},
        {"namespace", answer.name_space},
        {"object", answer.pod},
        {"duration_us", std::chrono::duration_cast<std::chrono::microseconds>(took).count()}};
    if (!answer.reason.empty()) fields["reason"] = answer.reason;
    const bool good = answer.kind != Answer::Kind::kInvalid;
    const bool refused = !good || answer.kind == Answer::Kind::kRefused;
    Log(refused ? "warning" : "info", "review", std::move(fields));
    Response response =
        Plain(good ? http::status::ok : http::status::bad_request, std::move(answer.body));
    if (good) response.set(http::field::content_type, "application/json");
    return response;
  }

  void Send(Response response, bool keep_alive) {
    state_.metrics.CountStatus(response.result_int());
    response_ = std::move(response);
    response_.set(http::field::server, "sluice");
    response_.keep_alive(keep_alive && !state_.draining);
    if (parser_ && parser_->is_header_done()) {
      response_.version(parser_->get().version());
      // The length of the body that GET would have had.
      if (parser_->get().method() == http::verb::head) {
        response_.content_length(response_.body().size());
        response_.body().clear();
        head_ = true;
      }
    }
    if (!head_) response_.prepare_payload();
    head_ = false;
    Socket().expires_after(kRequestTimeout);
    http::async_write(stream_, response_,
                      [self = shared_from_this()](beast::error_code error, std::size_t) {
                        if (error) return;
                        if (self->response_.keep_alive()) return self->Wait();
                        self->Shutdown();
                      });
  }

  void Shutdown() {
    Socket().expires_after(kHandshakeTimeout);
    stream_.async_shutdown([self = shared_from_this()](beast::error_code) {});
  }

  static constexpr std::size_t kReadBytes = 8 * 1024;

  State& state_;
  std::shared_ptr<Credentials> credentials_;
  ssl::stream<beast::tcp_stream> stream_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<BudgetedBody>> parser_;
  Response response_;
  bool head_ = false;
  bool idle_ = false;
  std::optional<std::list<Connection*>::iterator> place_;  // in state_.open
};

class Server {
 public:
  Server(const ServerOptions& options, const Decide& decide)
      : state_{
            .options = options, .decide = decide, .bodies = BodyBudget(options.max_body_memory)} {}
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  void Run() {
    state_.credentials = MakeCredentials(ReadAll(state_.options.certificate),
                                         ReadAll(state_.options.key), state_.options.certificate);
    state_.metrics.certificate_expiry = state_.credentials->expiry;
    Listen();
    Log("info", "listening",
        {{"port", acceptor_.local_endpoint().port()}, {"version", state_.options.version}});
    Accept();
    WaitForSignal();
    WaitForReload();
    io_.run();
    Log("info", "ended");
  }

 private:
  void Listen() {
    // One socket for both families, if the kernel has both.
    tcp::endpoint endpoint(tcp::v6(), state_.options.port);
    boost::system::error_code error;
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(asio::ip::v6_only(false), error);
    if (error) {
      endpoint = tcp::endpoint(tcp::v4(), state_.options.port);
      if (acceptor_.is_open()) acceptor_.close(error);
      acceptor_.open(endpoint.protocol(), error);
    }
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error) {
      throw SystemError(error.value(), "listen", "port " + std::to_string(state_.options.port),
                        error == asio::error::address_in_use
                            ? "another process listens there; `ss -ltnp` names it"
                            : "");
    }
  }

  void Accept() {
    acceptor_.async_accept([this](boost::system::error_code error, tcp::socket socket) {
      if (error == asio::error::operation_aborted) return;
      if (error) {
        // Descriptors or memory ran out: retry later.
        pause_.expires_after(kAcceptPause);
        pause_.async_wait([this](boost::system::error_code stopped) {
          if (!stopped && acceptor_.is_open()) Accept();
        });
        return;
      }
      boost::system::error_code ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      std::make_shared<Connection>(std::move(socket), state_)->Start();
      Accept();
    });
  }

  void WaitForSignal() {
    signals_.async_wait([this](boost::system::error_code error, int signal) {
      if (error) return;
      if (signal == SIGHUP) {
        Reload();
      } else if (state_.draining) {
        return io_.stop();  // the second signal
      } else {
        Drain();
      }
      WaitForSignal();
    });
  }

  void WaitForReload() {
    reload_.expires_after(kReloadInterval);
    reload_.async_wait([this](boost::system::error_code error) {
      if (error) return;
      Reload();
      WaitForReload();
    });
  }

  void Reload() {
    std::string what;
    try {
      std::string certificate = ReadAll(state_.options.certificate);
      std::string key = ReadAll(state_.options.key);
      if (certificate == state_.credentials->certificate && key == state_.credentials->key) {
        failed_.clear();
        return;
      }
      what = certificate + key;
      state_.credentials =
          MakeCredentials(std::move(certificate), std::move(key), state_.options.certificate);
      state_.metrics.certificate_expiry = state_.credentials->expiry;
      ++state_.metrics.reloads_total;
      failed_.clear();
      Log("info", "certificate reloaded");
    } catch (const std::exception& error) {
      // A half-written file is complete next time. Each text is reported once.
      if (what.empty()) what = error.what();
      if (what == failed_) return;
      failed_ = std::move(what);
      ++state_.metrics.failed_reloads_total;
      Log("error", "the certificate stays as it was", {{"error", error.what()}});
    }
  }

  void Drain() {
    Log("info", "draining");
    state_.draining = true;
    drain_.expires_after(state_.options.drain);
    drain_.async_wait([this](boost::system::error_code error) {
      if (!error) End();
    });
  }

  // Finishes the requests in progress, and accepts no others.
  void End() {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    pause_.cancel();
    reload_.cancel();
    state_.ending = true;
    const std::list<Connection*> open = state_.open;
    for (Connection* const each : open) each->EndWhenIdle();
    last_.expires_after(kLastTimeout);
    last_.async_wait([this](boost::system::error_code error) {
      if (!error) io_.stop();
    });
    WaitForLast();
  }

  void WaitForLast() {
    if (state_.open.empty()) {
      // With nothing left to wait for, the loop ends.
      boost::system::error_code ignored;
      signals_.cancel(ignored);
      last_.cancel();
      return;
    }
    drain_.expires_after(std::chrono::milliseconds(20));
    drain_.async_wait([this](boost::system::error_code error) {
      if (!error) WaitForLast();
    });
  }

  // Declared before the loop, which destroys connections that use it.
  State state_;
  asio::io_context io_{1};
  tcp::acceptor acceptor_{io_};
  asio::signal_set signals_{io_, SIGTERM, SIGINT, SIGHUP};
  asio::steady_timer pause_{io_};
  asio::steady_timer reload_{io_};
  asio::steady_timer drain_{io_};
  asio::steady_timer last_{io_};
  std::string failed_;
};

}  // namespace

void Serve(const ServerOptions& options, const Decide& decide) { Server(options, decide).Run(); }

}  // namespace sluice::inject::webhook
