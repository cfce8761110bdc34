// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/log/access_log.h"

#include <arpa/inet.h>

#include <array>
#include <charconv>
#include <ctime>

namespace sluice::proxy {
namespace {

void AppendNumber(std::uint64_t value, std::string& out) {
  std::array<char, 20> digits;
  const auto [end, code] = std::to_chars(digits.data(), digits.data() + digits.size(), value);
  out.append(digits.data(), end);
}

void AppendPadded(int value, int width, std::string& out) {
  std::array<char, 8> digits{};
  for (int i = width - 1; i >= 0; --i) {
    digits[static_cast<std::size_t>(i)] = static_cast<char>('0' + value % 10);
    value /= 10;
  }
  out.append(digits.data(), static_cast<std::size_t>(width));
}

// 2026-11-23T15:37:15.042Z
void AppendTime(std::int64_t unix_ms, std::string& out) {
  const std::time_t seconds = unix_ms / 1000;
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  AppendPadded(utc.tm_year + 1900, 4, out);
  out += '-';
  AppendPadded(utc.tm_mon + 1, 2, out);
  out += '-';
  AppendPadded(utc.tm_mday, 2, out);
  out += 'T';
  AppendPadded(utc.tm_hour, 2, out);
  out += ':';
  AppendPadded(utc.tm_min, 2, out);
  out += ':';
  AppendPadded(utc.tm_sec, 2, out);
  out += '.';
  AppendPadded(static_cast<int>(unix_ms % 1000), 3, out);
  out += 'Z';
}

// Five addresses are a third of a line's cost, and SocketAddress::ToString makes four strings for
// each: so they are written in place.
void AppendAddress(const SocketAddress& address, std::string& out) {
  if (address.port == 0) {
    out += '-';
    return;
  }
  const auto bytes = address.ip.bytes();
  if (address.ip.is_v4()) {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (i > 0) out += '.';
      AppendNumber(bytes[i], out);
    }
  } else {
    std::array<char, INET6_ADDRSTRLEN> text{};
    ::inet_ntop(AF_INET6, bytes.data(), text.data(), text.size());
    out += '[';
    out += text.data();
    out += ']';
  }
  out += ':';
  AppendNumber(address.port, out);
}

// The length of the valid UTF-8 sequence at the start of `text` (RFC 3629), 0 when there is none.
std::size_t Utf8Length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  std::size_t length = 0;
  unsigned char low = 0x80;
  unsigned char high = 0xbf;
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) {
    length = 2;
  } else if (first >= 0xe0 && first <= 0xef) {
    length = 3;
    if (first == 0xe0) low = 0xa0;   // overlong
    if (first == 0xed) high = 0x9f;  // surrogates
  } else if (first >= 0xf0 && first <= 0xf4) {
    length = 4;
    if (first == 0xf0) low = 0x90;   // overlong
    if (first == 0xf4) high = 0x8f;  // above U+10FFFF
  } else {
    return 0;
  }
  if (text.size() < length || byte(1) < low || byte(1) > high) return 0;
  for (std::size_t i = 2; i < length; ++i) {
    if (byte(i) < 0x80 || byte(i) > 0xbf) return 0;
  }
  return length;
}

void AppendEscaped(std::string_view text, std::string& out) {
  constexpr std::string_view kHex = "0123456789abcdef";
  while (!text.empty()) {
    const char c = text.front();
    const std::size_t length = Utf8Length(text);
    if (length == 0) {
      out += "\\ufffd";
      text.remove_prefix(1);
      continue;
    }
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += "\\u00";
      out += kHex[static_cast<unsigned char>(c) >> 4];
      out += kHex[static_cast<unsigned char>(c) & 15];
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
}

// ,"name":"text"
void AppendText(std::string_view name, std::string_view text, std::string& out) {
  out += ",\"";
  out += name;
  out += "\":\"";
  if (text.empty()) {
    out += '-';
  } else {
    AppendEscaped(text, out);
  }
  out += '"';
}

void AppendIfAny(std::string_view name, std::string_view text, std::string& out) {
  if (!text.empty()) AppendText(name, text, out);
}

void AppendField(std::string_view name, const SocketAddress& address, std::string& out) {
  out += ",\"";
  out += name;
  out += "\":\"";
  AppendAddress(address, out);
  out += '"';
}

void AppendField(std::string_view name, std::uint64_t value, std::string& out) {
  out += ",\"";
  out += name;
  out += "\":";
  AppendNumber(value, out);
}

std::string_view ClusterOf(const AccessRecord& record) {
  if (!record.upstream_cluster.empty()) return record.upstream_cluster;
  if (record.refused) return "BlackHoleCluster";
  return record.direction == Direction::kOutbound ? "PassthroughCluster"
                                                  : "InboundPassthroughCluster";
}

}  // namespace

void AppendAccessLogLine(const AccessRecord& record, std::string& out) {
  out += "{\"start_time\":\"";
  AppendTime(record.start_unix_ms, out);
  out += '"';
  AppendField("duration", static_cast<std::uint64_t>(record.duration.count()), out);
  AppendField("bytes_received", record.bytes_received, out);
  AppendField("bytes_sent", record.bytes_sent, out);
  AppendField("downstream_remote_address", record.downstream_remote, out);
  AppendField("downstream_local_address", record.downstream_local, out);
  AppendField("upstream_host", record.upstream_host, out);
  AppendField("upstream_local_address", record.upstream_local, out);
  AppendText("upstream_cluster", ClusterOf(record), out);
  AppendText("response_flags", record.response_flags, out);
  AppendField("response_code", static_cast<std::uint64_t>(record.response_code), out);
  AppendText("connection_termination_details", record.termination_details, out);
  AppendText("upstream_transport_failure_reason", record.transport_failure, out);
  AppendText("requested_server_name", record.requested_server_name, out);
  AppendText("protocol", record.protocol, out);
  AppendText("method", record.method, out);
  AppendText("path", record.path, out);
  AppendText("authority", record.authority, out);
  AppendText("user_agent", record.user_agent, out);
  if (record.is_request) {
    AppendText("request_id", record.request_id, out);
    AppendText("upstream_service_time", record.upstream_service_time, out);
    AppendText("x_forwarded_for", record.forwarded_for, out);
    AppendText("route_name", "default", out);
    AppendText("response_code_details", record.response_code_details, out);
    if (record.grpc_status >= 0) {
      AppendField("grpc_status_number", static_cast<std::uint64_t>(record.grpc_status), out);
    }
  }
  AppendIfAny("downstream_transport_failure_reason", record.downstream_transport_failure, out);
  AppendIfAny("downstream_peer_uri_san", record.downstream_peer_uri_san, out);
  AppendIfAny("upstream_peer_uri_san", record.upstream_peer_uri_san, out);
  AppendIfAny("tls_version", record.tls_version, out);
  out += "}\n";
}

}  // namespace sluice::proxy
