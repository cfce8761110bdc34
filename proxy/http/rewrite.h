// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/config.h"
#include "proxy/http/head.h"
#include "proxy/http/http_config.h"
#include "proxy/http/ids.h"

namespace sluice::proxy {

// What to write into every message of a connection.
struct RewriteRules {
  Direction direction = Direction::kOutbound;
  HttpHeaderSet headers = HttpHeaderSet::All();
  // The value of X-Forwarded-Client-Cert if the client came over mutual TLS; otherwise empty.
  std::string client_certificate = {};
};

// Appends the head as it is passed on, and sets `request_id` to the one in it, or to "". Lines that
// the proxy does not write keep their bytes and their order.
void WriteRequestHead(const RequestHead& head, const RewriteRules& rules, IdSource& ids,
                      std::string& out, std::string& request_id);

// The same for a final response. `service_ms`: the time from the request's head to this one.
// `closes`: it says that the connection ends after it.
void WriteResponseHead(const ResponseHead& head, const RewriteRules& rules,
                       std::uint64_t service_ms, bool closes, std::string& out);

// "envoy" towards the application, "istio-envoy" towards its clients.
std::string_view ServerName(Direction direction);

// Whether a client must not send this header as a trailer: only proxies write it, or it says where
// a message ends.
bool IsForbiddenTrailer(std::string_view name);

// The value that Envoy writes. `subject` may be empty.
std::string ForwardedClientCert(std::string_view by, std::string_view hash_hex,
                                std::string_view subject, std::string_view uri);

}  // namespace sluice::proxy
