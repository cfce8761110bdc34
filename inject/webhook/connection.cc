// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "inject/webhook/connection.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <boost/json/object.hpp>

#include "inject/webhook/admission.h"
#include "inject/webhook/log.h"

namespace sluice::inject::webhook {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace json = boost::json;
namespace ssl = boost::asio::ssl;
using boost::asio::ip::tcp;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;
using Response = http::response<http::string_body>;

constexpr std::uint32_t kMaxHeaderBytes = 16 * 1024;
// An object in etcd has 1.5 MiB at most, and an API server's request 3 MiB.
constexpr std::uint64_t kMaxBodyBytes = 4 * 1024 * 1024;
constexpr seconds kHandshakeTimeout{10};
// For a request from its first byte, and for the response. We ask the API server to wait 5 s.
constexpr seconds kRequestTimeout{10};
// Between requests. Go's client closes idle connections after 90 s; if the server closes first, a
// request may be on its way.
constexpr seconds kIdleTimeout{180};
// How much is read at first: usually the whole head of a request.
constexpr std::size_t kReadBytes = 8 * 1024;

Response Plain(http::status status, std::string body) {
  Response response(status, 11);
  response.set(http::field::content_type, "text/plain; charset=utf-8");
  response.body() = std::move(body);
  return response;
}

Response NotAllowed(const char* methods) {
  Response response = Plain(http::status::method_not_allowed, "the method is not allowed\n");
  response.set(http::field::allow, methods);
  return response;
}

}  // namespace

Connection::Connection(tcp::socket socket, ServerState& state)
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

Connection::~Connection() { Leave(); }

void Connection::Start() {
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

void Connection::EndWhenIdle() {
  if (idle_) Close();
}

void Connection::Close() {
  Leave();
  Socket().close();
}

void Connection::Leave() {
  if (!place_) return;
  state_.open.erase(*place_);
  place_.reset();
  state_.metrics.connections = state_.open.size();
}

void Connection::Wait() {
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

void Connection::Read() {
  parser_.emplace();
  parser_->get().body().TakeFrom(state_.bodies);
  parser_->header_limit(kMaxHeaderBytes);
  parser_->body_limit(kMaxBodyBytes);
  Socket().expires_after(kRequestTimeout);
  http::async_read(
      stream_, buffer_, *parser_,
      [self = shared_from_this()](beast::error_code error, std::size_t) { self->Answer(error); });
}

void Connection::Answer(beast::error_code error) {
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
    Response response = Plain(http::status::service_unavailable, "too many large bodies at once\n");
    response.set(http::field::retry_after, "1");
    return Send(std::move(response), false);
  }
  if (error == http::error::body_limit) {
    return Send(Plain(http::status::payload_too_large, "the body is too large\n"), false);
  }
  if (error == http::error::header_limit) {
    return Send(Plain(http::status::request_header_fields_too_large, "too many headers\n"), false);
  }
  const bool malformed = error.category() == beast::error_code(http::error::bad_method).category();
  if (malformed && error != http::error::end_of_stream && error != http::error::partial_message) {
    Send(Plain(http::status::bad_request, "this is not HTTP\n"), false);
  }
}

Connection::Response Connection::Handle(const Request& request) {
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

Connection::Response Connection::HandleReview(const Request& request) {
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
  const bool good = answer.kind != webhook::Answer::Kind::kInvalid;
  const bool refused = !good || answer.kind == webhook::Answer::Kind::kRefused;
  Log(refused ? "warning" : "info", "review", std::move(fields));
  Response response =
      Plain(good ? http::status::ok : http::status::bad_request, std::move(answer.body));
  if (good) response.set(http::field::content_type, "application/json");
  return response;
}

void Connection::Send(Response response, bool keep_alive) {
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

void Connection::Shutdown() {
  Socket().expires_after(kHandshakeTimeout);
  stream_.async_shutdown([self = shared_from_this()](beast::error_code) {});
}

}  // namespace sluice::inject::webhook
