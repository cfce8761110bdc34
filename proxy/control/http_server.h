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
  std::string query;   // behind the '?', not decoded
  // Header fields; empty when missing.
  std::string host = {};
  std::string origin = {};
  std::string fetch_site = {};     // Sec-Fetch-Site
  std::string authorization = {};  // "Bearer ..."
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  // When set, the body goes on with what this returns, until it returns nothing. It is called when
  // the client has taken what came before, so that a long answer never lies in memory as a whole.
  std::function<std::string()> next_piece = {};
};

using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;

// The control path: small HTTP/1.1 servers on one thread of their own, so that neither a scrape nor
// a slow client of theirs delays a byte that is relayed. Bounded: size and time of a request, time
// of a response, and the connections of each port. When a port has as many as it may, the one that
// has been without a request for the longest makes room for the next.
class HttpServers {
 public:
  HttpServers();
  // Ends the thread and closes all connections.
  ~HttpServers();
  HttpServers(const HttpServers&) = delete;
  HttpServers& operator=(const HttpServers&) = delete;

  // Serves `handler`, called on the servers' thread, on `port`: on all addresses of both families,
  // or on the loopback ones. Before Start. Throws sluice::Error.
  void Listen(std::uint16_t port, bool loopback_only, HttpHandler handler);
  void Start();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::proxy
