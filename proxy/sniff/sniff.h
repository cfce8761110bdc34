// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace sluice::proxy {

// Detects the protocol of a connection from the first bytes of each direction, for the access
// log. It never delays, changes or requests bytes: the relay hands over what it passes on
// anyway.
//
//   Sniffer sniffer;                                         // in the session; owns nothing yet
//   if (sniffer.WantsClient()) sniffer.FromClient(bytes);    // bytes read from the client
//   if (sniffer.WantsServer()) sniffer.FromServer(bytes);    // bytes read from the destination
//   if (const Sniffed* seen = sniffer.result()) ...          // when the line is written
//
// Hand over every byte once and in order, in pieces of any size, until Wants...() is false; that
// takes at most kMaxSniffBytes, and usually the first packet. Do not hand over bytes seen with
// MSG_PEEK again when they are read. When bytes have passed unseen (a splice), call Stop() and hand
// over no more.

// The most that is examined in each direction. A TLS record holds 16 KiB at most (RFC 8446, section
// 5.1) and a ClientHello with post-quantum key shares is under 2 KiB; servers refuse HTTP heads
// above 8 to 16 KiB.
inline constexpr std::size_t kMaxSniffBytes = 16 * 1024;

// The maximum lengths of texts. The path is cut, so that a log line stays below PIPE_BUF (4,096)
// and is written whole.
inline constexpr std::size_t kMaxServerName = 253;     // of a domain name (RFC 1035, 2.3.4)
inline constexpr std::size_t kMaxAuthority = 253 + 6;  // and ":65535"
inline constexpr std::size_t kMaxMethod = 24;          // longest registered: UPDATEREDIRECTREF, 17
inline constexpr std::size_t kMaxPath = 1024;
inline constexpr std::size_t kMaxUserAgent = 256;  // today's browsers send about 120

enum class SniffStatus : std::uint8_t {
  kNeedMore,       // all bytes match so far; more would help
  kDone,           // everything that can be learned is known
  kNotRecognised,  // neither TLS nor HTTP: decided at the first impossible byte
};

enum class Spoken : std::uint8_t { kUnknown, kTls, kHttp1, kHttp2 };

// The result. Every text is printable ASCII (0x20 to 0x7e), so a log only has to escape '"' and
// '\'; "" and 0 mean "not seen".
struct Sniffed {
  Spoken spoken = Spoken::kUnknown;
  // TLS: the host name that the client asked for (RFC 6066, section 3), in lower case. Empty if it
  // has any characters but letters, digits, '.', '-' and '_'.
  std::string server_name;
  // HTTP/1: the first request on the connection. The path includes the query, with other bytes
  // percent-encoded; it is empty for CONNECT. The authority comes from the target if that has one
  // (RFC 9112, section 3.2.2), else from Host; it is empty if Host is missing, repeated or not a
  // host. In the user agent '?' replaces other bytes.
  std::string method;
  std::string path;
  std::string authority;
  std::string user_agent;
  // "HTTP/1.0", "HTTP/1.1" or "HTTP/2" (nothing else of it: its headers are compressed).
  std::string_view protocol;
  // HTTP/1: of the first final response (not 100 to 199, except 101).
  std::uint16_t response_code = 0;

  friend bool operator==(const Sniffed&, const Sniffed&) = default;
};

// For one connection. Movable; not thread-safe. Allocates at the first byte that may begin TLS or
// HTTP, and when both directions are decided frees all that result() does not need, so that silent
// connections and those with other protocols cost two words.
class Sniffer {
 public:
  Sniffer();
  ~Sniffer();
  Sniffer(Sniffer&&) noexcept;
  Sniffer& operator=(Sniffer&&) noexcept;

  bool WantsClient() const { return client_ == SniffStatus::kNeedMore; }
  bool WantsServer() const { return server_ == SniffStatus::kNeedMore; }

  // The next bytes from the client or server. Returns that direction's status; bytes after the
  // decision are ignored.
  SniffStatus FromClient(std::span<const std::uint8_t> bytes);
  SniffStatus FromServer(std::span<const std::uint8_t> bytes);

  // No more bytes will come; results so far are kept.
  void Stop();

  // The result so far, or null if nothing was recognised. Valid until the next call.
  const Sniffed* result() const;

 private:
  struct Parsers;
  struct State;

  Parsers& GetParsers();
  void Settle();

  std::unique_ptr<State> state_;
  SniffStatus client_ = SniffStatus::kNeedMore;
  SniffStatus server_ = SniffStatus::kNeedMore;
};

static_assert(sizeof(Sniffer) <= 2 * sizeof(void*));

}  // namespace sluice::proxy
