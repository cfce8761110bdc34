// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string>
#include <vector>

namespace sluice::proxy {

// Requests of which servers and proxies have disagreed where they end or what they say. The tests
// with real servers send them, too.
inline std::vector<std::string> AmbiguousRequests() {
  std::vector<std::string> out;
  const std::string post = "POST / HTTP/1.1\r\nHost: a\r\n";
  for (const char* fields : {"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                             "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                             "Content-Length: 5\r\nContent-Length: 5\r\n",
                             "Content-Length: 5\r\ncontent-length: 6\r\n",
                             "Content-Length: 5, 5\r\n",
                             "Content-Length: +5\r\n",
                             "Content-Length: -0\r\n",
                             "Content-Length: 0x5\r\n",
                             "Content-Length: 5 5\r\n",
                             "Content-Length:\r\n",
                             "Content-Length: 99999999999999999999\r\n",
                             "Content-Length: 5;\r\n",
                             "Content-Length : 5\r\n",
                             "Content-Length\t: 5\r\n",
                             "Transfer-Encoding : chunked\r\n",
                             "Transfer-Encoding: chunked, identity\r\n",
                             "Transfer-Encoding: identity\r\n",
                             "Transfer-Encoding: gzip, chunked\r\n",
                             "Transfer-Encoding: chunked\r\n"
                             "Transfer-Encoding: chunked\r\n",
                             "Transfer-Encoding: xchunked\r\n",
                             "Transfer-Encoding: \x0b"
                             "chunked\r\n",
                             "Transfer-Encoding:\r\n chunked\r\n",
                             "Transfer-Encoding: \"chunked\"\r\n",
                             "X: a\r\n folded\r\n",
                             "X: a\r\n\tfolded\r\n",
                             " Content-Length: 5\r\n",
                             "X: a\rb\r\n",
                             "X: a\nContent-Length: 5\r\n",
                             "X\r\n",
                             ": a\r\n",
                             "X Y: a\r\n",
                             "X(: a\r\n",
                             "Host: b\r\n",
                             "X: \x7f\r\n",
                             "X: \x01\r\n"}) {
    out.push_back(post + fields + "\r\n");
  }
  out.push_back(post + std::string("X: a\0b\r\n", 8) + "\r\n");
  out.push_back(post + std::string("X\0: a\r\n", 7) + "\r\n");
  for (const char* whole :
       {"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / a HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n", "GET / http/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"}) {
    out.emplace_back(whole);
  }
  return out;
}

// What stands in a chunked body, behind a head that is well-formed.
inline std::vector<std::string> AmbiguousChunks() {
  return {"5;a=b\r\nhello\r\n0\r\n\r\n",
          "5 \r\nhello\r\n0\r\n\r\n",
          " 5\r\nhello\r\n0\r\n\r\n",
          "0x5\r\nhello\r\n0\r\n\r\n",
          "+5\r\nhello\r\n0\r\n\r\n",
          "5\nhello\r\n0\r\n\r\n",
          "5\r\nhello!\r\n0\r\n\r\n",
          "5\r\nhello0\r\n\r\n",
          "5\r\nhello\n0\r\n\r\n",
          "10000000000000005\r\nhello\r\n0\r\n\r\n",
          "\r\nhello\r\n0\r\n\r\n",
          "g\r\n",
          "0\r\nX\r\n\r\n",
          "0\r\n X: a\r\n\r\n",
          "0\r\nX : a\r\n\r\n",
          "0\r\n\n",
          "-1\r\n"};
}

inline std::vector<std::string> AmbiguousAnswers() {
  std::vector<std::string> out;
  for (const char* fields :
       {"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n", "Content-Length: +5\r\n",
        "Transfer-Encoding: gzip\r\n", "X: a\r\n folded\r\n", "X : a\r\n", "X: a\nb: c\r\n"}) {
    out.push_back(std::string("HTTP/1.1 200 OK\r\n") + fields + "\r\n");
  }
  for (const char* whole :
       {"HTTP/1.1 200 OK\n\n", "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n", "hello, world\r\n\r\n", "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 099 No\r\n\r\n"}) {
    out.emplace_back(whole);
  }
  return out;
}

}  // namespace sluice::proxy
