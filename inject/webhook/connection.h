// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <list>
#include <memory>
#include <optional>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include "inject/webhook/body.h"
#include "inject/webhook/credentials.h"
#include "inject/webhook/metrics.h"
#include "inject/webhook/server.h"

namespace sluice::inject::webhook {

class Connection;

// What the connections of a server share. For use by one thread.
struct ServerState {
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
  // Closes the connection longest without a request if there are too many. `state` must outlive it.
  Connection(boost::asio::ip::tcp::socket socket, ServerState& state);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void Start();
  // Closes the connection if no request is in progress.
  void EndWhenIdle();

 private:
  using Request = boost::beast::http::request<BudgetedBody>;
  using Response = boost::beast::http::response<boost::beast::http::string_body>;

  boost::beast::tcp_stream& Socket() { return stream_.next_layer(); }
  void Close();
  void Leave();
  // Waits for the first byte of a request.
  void Wait();
  void Read();
  void Answer(boost::beast::error_code error);
  Response Handle(const Request& request);
  Response HandleReview(const Request& request);
  void Send(Response response, bool keep_alive);
  void Shutdown();

  ServerState& state_;
  std::shared_ptr<Credentials> credentials_;
  boost::asio::ssl::stream<boost::beast::tcp_stream> stream_;
  boost::beast::flat_buffer buffer_;
  std::optional<boost::beast::http::request_parser<BudgetedBody>> parser_;
  Response response_;
  bool head_ = false;
  bool idle_ = false;
  std::optional<std::list<Connection*>::iterator> place_;  // in state_.open
};

}  // namespace sluice::inject::webhook
