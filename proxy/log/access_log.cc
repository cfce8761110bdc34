// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/log/access_log.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstring>

#include "base/text/ascii.h"

namespace sluice::proxy {
namespace {

// Collects a line on the stack, and appends it in one piece: two hundred appends to a string cost
// twice as much. Longer lines take several pieces.
class Line {
 public:
  explicit Line(std::string& out) : out_(out) {}
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;
  ~Line() { Flush(); }

  void Add(std::string_view text) {
    while (text.size() > buffer_.size() - used_) {
      const std::size_t room = buffer_.size() - used_;
      std::memcpy(&buffer_[used_], text.data(), room);
      used_ += room;
      text.remove_prefix(room);
      Flush();
    }
    std::memcpy(&buffer_[used_], text.data(), text.size());
    used_ += text.size();
  }
  void Add(char c) {
    if (used_ == buffer_.size()) Flush();
    buffer_[used_++] = c;
  }
  void Add(std::uint64_t value) {
    std::array<char, 20> digits;
    const auto [end, code] = std::to_chars(digits.data(), digits.data() + digits.size(), value);
    Add(std::string_view(digits.data(), static_cast<std::size_t>(end - digits.data())));
  }
  // At most 8 digits.
  void AddPadded(std::uint64_t value, std::size_t width) {
    std::array<char, 8> digits;
    for (std::size_t i = width; i-- > 0;) {
      digits[i] = static_cast<char>('0' + value % 10);
      value /= 10;
    }
    Add(std::string_view(digits.data(), width));
  }

 private:
  void Flush() {
    out_.append(buffer_.data(), used_);
    used_ = 0;
  }

  std::string& out_;
  std::size_t used_ = 0;
  std::array<char, 2048> buffer_;
};

// 2026-11-23T15:37:15.042Z, without gmtime_r(3), which takes a lock.
void AppendTime(std::int64_t unix_ms, Line& out) {
  using std::chrono::days;
  using std::chrono::floor;
  const std::chrono::sys_time<std::chrono::milliseconds> time{std::chrono::milliseconds(unix_ms)};
  const auto day = floor<days>(time);
  const std::chrono::year_month_day date{day};
  const std::chrono::hh_mm_ss clock{time - day};
  const auto padded = [&](auto value, std::size_t width, char behind) {
    out.AddPadded(static_cast<std::uint64_t>(value), width);
    out.Add(behind);
  };
  padded(static_cast<int>(date.year()), 4, '-');
  padded(static_cast<unsigned>(date.month()), 2, '-');
  padded(static_cast<unsigned>(date.day()), 2, 'T');
  padded(clock.hours().count(), 2, ':');
  padded(clock.minutes().count(), 2, ':');
  padded(clock.seconds().count(), 2, '.');
  padded(clock.subseconds().count(), 3, 'Z');
}

// In place: SocketAddress::ToString makes four strings for each.
void AppendAddress(const SocketAddress& address, Line& out) {
  if (address.port == 0) {
    out.Add('-');
    return;
  }
  const auto bytes = address.ip.bytes();
  if (address.ip.is_v4()) {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (i > 0) out.Add('.');
      out.Add(std::uint64_t{bytes[i]});
    }
  } else {
    std::array<char, INET6_ADDRSTRLEN> text{};
    ::inet_ntop(AF_INET6, bytes.data(), text.data(), text.size());
    out.Add('[');
    out.Add(std::string_view(text.data()));
    out.Add(']');
  }
  out.Add(':');
  out.Add(std::uint64_t{address.port});
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

// Whether JSON has a character as it is; others are looked at more closely.
constexpr bool IsPlain(char c) { return IsPrintable(c) && c != '"' && c != '\\'; }

void AppendEscaped(std::string_view text, Line& out) {
  constexpr std::string_view kHex = "0123456789abcdef";
  while (!text.empty()) {
    const auto plain =
        static_cast<std::size_t>(std::ranges::find_if_not(text, IsPlain) - text.begin());
    out.Add(text.substr(0, plain));
    text.remove_prefix(plain);
    if (text.empty()) break;
    const char c = text.front();
    const std::size_t length = Utf8Length(text);
    if (length == 0) {
      out.Add("\\ufffd");
      text.remove_prefix(1);
      continue;
    }
    if (c == '"' || c == '\\') {
      out.Add('\\');
      out.Add(c);
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out.Add("\\u00");
      out.Add(kHex[static_cast<unsigned char>(c) >> 4]);
      out.Add(kHex[static_cast<unsigned char>(c) & 15]);
    } else {
      out.Add(text.substr(0, length));
    }
    text.remove_prefix(length);
  }
}

// `name` is what stands before the text: ,"name":"
void AppendText(std::string_view name, std::string_view text, Line& out) {
  out.Add(name);
  if (text.empty()) {
    out.Add('-');
  } else {
    AppendEscaped(text, out);
  }
  out.Add('"');
}

void AppendIfAny(std::string_view name, std::string_view text, Line& out) {
  if (!text.empty()) AppendText(name, text, out);
}

void AppendField(std::string_view name, const SocketAddress& address, Line& out) {
  out.Add(name);
  AppendAddress(address, out);
  out.Add('"');
}

void AppendField(std::string_view name, std::uint64_t value, Line& out) {
  out.Add(name);
  out.Add(value);
}

std::string_view ClusterOf(const AccessRecord& record) {
  if (!record.upstream_cluster.empty()) return record.upstream_cluster;
  if (record.refused) return "BlackHoleCluster";
  return record.direction == Direction::kOutbound ? "PassthroughCluster"
                                                  : "InboundPassthroughCluster";
}

}  // namespace

void AppendAccessLogLine(const AccessRecord& record, std::string& out) {
  Line line(out);
  line.Add(R"({"start_time":")");
  AppendTime(record.start_unix_ms, line);
  line.Add('"');
  AppendField(R"(,"duration":)", static_cast<std::uint64_t>(record.duration.count()), line);
  AppendField(R"(,"bytes_received":)", record.bytes_received, line);
  AppendField(R"(,"bytes_sent":)", record.bytes_sent, line);
  AppendField(R"(,"downstream_remote_address":")", record.downstream_remote, line);
  AppendField(R"(,"downstream_local_address":")", record.downstream_local, line);
  AppendField(R"(,"upstream_host":")", record.upstream_host, line);
  AppendField(R"(,"upstream_local_address":")", record.upstream_local, line);
  AppendText(R"(,"upstream_cluster":")", ClusterOf(record), line);
  AppendText(R"(,"response_flags":")", record.response_flags, line);
  AppendField(R"(,"response_code":)", static_cast<std::uint64_t>(record.response_code), line);
  AppendText(R"(,"connection_termination_details":")", record.termination_details, line);
  AppendText(R"(,"upstream_transport_failure_reason":")", record.transport_failure, line);
  AppendText(R"(,"requested_server_name":")", record.requested_server_name, line);
  AppendText(R"(,"protocol":")", record.protocol, line);
  AppendText(R"(,"method":")", record.method, line);
  AppendText(R"(,"path":")", record.path, line);
  AppendText(R"(,"authority":")", record.authority, line);
  AppendText(R"(,"user_agent":")", record.user_agent, line);
  if (record.is_request) {
    AppendText(R"(,"request_id":")", record.request_id, line);
    AppendText(R"(,"upstream_service_time":")", record.upstream_service_time, line);
    AppendText(R"(,"x_forwarded_for":")", record.forwarded_for, line);
    AppendText(R"(,"route_name":")", "default", line);
    AppendText(R"(,"response_code_details":")", record.response_code_details, line);
    if (record.grpc_status >= 0) {
      AppendField(R"(,"grpc_status_number":)", static_cast<std::uint64_t>(record.grpc_status),
                  line);
    }
  }
  AppendIfAny(R"(,"downstream_transport_failure_reason":")", record.downstream_transport_failure,
              line);
  AppendIfAny(R"(,"downstream_peer_uri_san":")", record.downstream_peer_uri_san, line);
  AppendIfAny(R"(,"upstream_peer_uri_san":")", record.upstream_peer_uri_san, line);
  AppendIfAny(R"(,"tls_version":")", record.tls_version, line);
  line.Add("}\n");
}

}  // namespace sluice::proxy
