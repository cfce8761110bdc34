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

// What is written for every message of a connection.
struct RewriteRules {
  Direction direction = Direction::kOutbound;
  HttpHeaderSet headers = HttpHeaderSet::All();
  // The client has come by our mutual TLS: the value of its X-Forwarded-Client-Cert. Empty: none.
  std::string client_certificate = {};
};

// Appends the head as it goes on, and sets `request_id` to what is in it, empty when there is none.
// Lines that are not ours stay as they are, byte by byte and in their order.
void WriteRequestHead(const RequestHead& head, const RewriteRules& rules, IdSource& ids,
                      std::string& out, std::string& request_id);

// The same for a final answer. `service_ms`: from the request's head to this one. `closes`: it says
// that the connection ends behind it.
void WriteResponseHead(const ResponseHead& head, const RewriteRules& rules,
                       std::uint64_t service_ms, bool closes, std::string& out);

// "envoy" towards the application, "istio-envoy" towards its clients.
std::string_view ServerName(Direction direction);

// A name that no client may send as a trailer: one that only proxies write, or that says where a
// message ends.
bool IsForbiddenTrailer(std::string_view name);

// The value that Envoy writes. `subject` may be empty.
std::string ForwardedClientCert(std::string_view by, std::string_view hash_hex,
                                std::string_view subject, std::string_view uri);

}  // namespace sluice::proxy
