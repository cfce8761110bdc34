// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace sluice::proxy {

struct HttpRequest {
  std::string method;  // "GET"
  std::string path;    // without the query
  std::string query;   // after the '?', not decoded
  // Header fields; empty if missing.
  std::string host = {};
  std::string origin = {};
  std::string fetch_site = {};     // Sec-Fetch-Site
  std::string authorization = {};  // "Bearer ..."
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  // If set, the body continues with this function's results, until one is empty. It is called when
  // the client has taken the previous piece, so that a long answer is never in memory whole.
  std::function<std::string()> next_piece = {};
};

using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;

// The control path: small HTTP/1.1 servers on their own thread, so that neither a scrape nor a slow
// client delays relayed bytes. Bounded: size and time of a request, time of a response, and
// connections per port. When a port is full, the connection longest without a request is closed for
// the next one.
class HttpServers {
 public:
  HttpServers();
  // Ends the thread and closes all connections.
  ~HttpServers();
  HttpServers(const HttpServers&) = delete;
  HttpServers& operator=(const HttpServers&) = delete;

  // Serves `handler` on `port`, on all addresses of both families or on loopback only. It is called
  // on the servers' thread. Call before Start. Throws sluice::Error.
  void Listen(std::uint16_t port, bool loopback_only, HttpHandler handler);
  void Start();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::proxy
