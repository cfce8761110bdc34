// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/http/rewrite.h"

#include <algorithm>

#include "base/text/ascii.h"

namespace sluice::proxy {
namespace {

constexpr std::string_view kClientCert = "x-forwarded-client-cert";

// WSGI and CGI treat "_" like "-", so that either spelling reaches the application.
bool IsClientCert(std::string_view name) {
  return std::ranges::equal(name, kClientCert, [](char c, char wanted) {
    return (c == '_' ? '-' : ToLower(c)) == wanted;
  });
}

// Whether Connection may name this header, which the next proxy then removes. It may not name
// headers that proxies write and receivers trust.
bool MayBeNamed(std::string_view token) {
  for (const std::string_view prefix : {"x-forwarded-", "x-request-id", "x-b3-", "x-envoy-"}) {
    if (token.size() >= prefix.size() && IsField(token.substr(0, prefix.size()), prefix)) {
      return false;
    }
  }
  return !IsClientCert(token);
}

bool IsHexOf(std::string_view text, std::size_t size) {
  return text.size() == size && std::ranges::all_of(text, [](char c) {
           return IsDigit(c) || (ToLower(c) >= 'a' && ToLower(c) <= 'f');
         });
}

void AppendLine(std::string_view name, std::string_view value, std::string& out) {
  out += name;
  out += ": ";
  out += value;
  out += "\r\n";
}

// Copies a Connection header without the tokens that `keeps` refuses; unchanged if it keeps all.
template <typename Keeps>
void CopyConnection(const HttpField& field, Keeps&& keeps, std::string& out) {
  std::string kept;
  bool all = true;
  ForEachToken(field.value, [&](std::string_view token) {
    if (!keeps(token)) {
      all = false;
      return;
    }
    if (!kept.empty()) kept += ", ";
    kept += token;
  });
  if (all) {
    out += field.line;
  } else if (!kept.empty()) {
    AppendLine(field.name, kept, out);
  }
}

// The span in a request's headers.
struct Span {
  std::string_view trace;
  std::string_view id;
  bool is_sampled_said = false;
  bool is_valid = false;
};

Span FindSpan(const RequestHead& head) {
  Span span;
  int traces = 0;
  int ids = 0;
  for (const HttpField& field : head.fields) {
    if (IsField(field.name, "x-b3-traceid")) {
      span.trace = field.value;
      ++traces;
    } else if (IsField(field.name, "x-b3-spanid")) {
      span.id = field.value;
      ++ids;
    } else if (IsField(field.name, "x-b3-sampled")) {
      span.is_sampled_said = true;
    }
  }
  span.is_valid = traces == 1 && ids == 1 && IsHexOf(span.id, 16) &&
                  (IsHexOf(span.trace, 32) || IsHexOf(span.trace, 16));
  return span;
}

void AppendSpan(const Span& span, IdSource& ids, std::string& out) {
  const std::uint64_t own = ids.NextSpan();
  std::string id;
  AppendHex64(own, id);
  if (span.is_valid) {
    AppendLine("x-b3-spanid", id, out);
    AppendLine("x-b3-parentspanid", span.id, out);
  } else {
    // A root span's id is the low half of its trace id.
    std::string trace;
    AppendHex64(ids.Next(), trace);
    trace += id;
    AppendLine("x-b3-traceid", trace, out);
    AppendLine("x-b3-spanid", id, out);
  }
  // The proxy's spans are not exported.
  if (!span.is_valid || !span.is_sampled_said) AppendLine("x-b3-sampled", "0", out);
}

}  // namespace

std::string_view ServerName(Direction direction) {
  return direction == Direction::kOutbound ? "envoy" : "istio-envoy";
}

bool IsForbiddenTrailer(std::string_view name) {
  return IsField(name, "content-length") || IsField(name, "transfer-encoding") ||
         IsField(name, "host") || IsField(name, "connection") || IsClientCert(name) ||
         !MayBeNamed(name);
}

std::string ForwardedClientCert(std::string_view by, std::string_view hash_hex,
                                std::string_view subject, std::string_view uri) {
  std::string value = "By=";
  value += by;
  value += ";Hash=";
  value += hash_hex;
  value += ";Subject=\"";
  for (const char c : subject) {
    if (c == '"' || c == '\\') value += '\\';
    // A name may contain any character, a header may not.
    value += IsPrintable(c) ? c : '?';
  }
  value += "\";URI=";
  value += uri;
  return value;
}

void WriteRequestHead(const RequestHead& head, const RewriteRules& rules, IdSource& ids,
                      std::string& out, std::string& request_id) {
  const bool writes_span = rules.headers.has(HttpHeaders::kTracing);
  const bool writes_count =
      rules.headers.has(HttpHeaders::kAttemptCount) && rules.direction == Direction::kOutbound;
  const Span span = writes_span ? FindSpan(head) : Span{};
  bool has_proto = false;
  request_id.clear();
  out += head.line;
  for (const HttpField& field : head.fields) {
    const std::string_view name = field.name;
    if (IsClientCert(name)) continue;
    if (IsField(name, "connection")) {
      CopyConnection(field, MayBeNamed, out);
      continue;
    }
    if (IsField(name, "x-request-id")) {
      // An empty one counts as missing.
      if (field.value.empty()) continue;
      if (request_id.empty()) request_id = field.value;
    } else if (IsField(name, "x-forwarded-proto")) {
      has_proto = true;
    } else if (writes_count && IsField(name, "x-envoy-attempt-count")) {
      continue;
    } else if (writes_span && (IsField(name, "x-b3-spanid") || IsField(name, "x-b3-parentspanid") ||
                               (!span.is_valid && (IsField(name, "x-b3-traceid") ||
                                                   IsField(name, "x-b3-sampled"))))) {
      continue;
    }
    out += field.line;
  }
  if (rules.headers.has(HttpHeaders::kForwardedProto) && !has_proto) {
    AppendLine("x-forwarded-proto", rules.client_certificate.empty() ? "http" : "https", out);
  }
  if (rules.headers.has(HttpHeaders::kRequestId) && request_id.empty()) {
    request_id = ids.NextUuid();
    AppendLine("x-request-id", request_id, out);
  }
  if (writes_count) AppendLine("x-envoy-attempt-count", "1", out);
  if (!rules.client_certificate.empty()) AppendLine(kClientCert, rules.client_certificate, out);
  if (writes_span) AppendSpan(span, ids, out);
  out += "\r\n";
}

void WriteResponseHead(const ResponseHead& head, const RewriteRules& rules,
                       std::uint64_t service_ms, bool closes, std::string& out) {
  const bool writes_server = rules.headers.has(HttpHeaders::kServer);
  const bool writes_time = rules.headers.has(HttpHeaders::kServiceTime);
  bool server_is_written = !writes_server;
  out += head.line;
  for (const HttpField& field : head.fields) {
    const std::string_view name = field.name;
    if (writes_server && IsField(name, "server")) {
      if (!server_is_written) AppendLine("server", ServerName(rules.direction), out);
      server_is_written = true;
      continue;
    }
    if (writes_time && IsField(name, "x-envoy-upstream-service-time")) continue;
    if (closes && IsField(name, "keep-alive")) continue;
    if (closes && IsField(name, "connection")) {
      CopyConnection(
          field,
          [](std::string_view token) {
            return !IsField(token, "keep-alive") && !IsField(token, "close");
          },
          out);
      continue;
    }
    out += field.line;
  }
  if (!server_is_written) AppendLine("server", ServerName(rules.direction), out);
  if (writes_time) {
    AppendLine("x-envoy-upstream-service-time", std::to_string(service_ms), out);
  }
  if (closes) AppendLine("connection", "close", out);
  out += "\r\n";
}

}  // namespace sluice::proxy
