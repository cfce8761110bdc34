// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace sluice::proxy {

// What is being spoken on a connection, read off the first bytes of each direction for the access
// log. Nothing here delays, changes or asks for a byte: the relay hands over what it is passing on
// anyway.
//
//   Sniffer sniffer;                                         // in the session; owns nothing yet
//   if (sniffer.WantsClient()) sniffer.FromClient(bytes);    // bytes read from the client
//   if (sniffer.WantsServer()) sniffer.FromServer(bytes);    // bytes read from the destination
//   if (const Sniffed* seen = sniffer.result()) ...          // when the line is written
//
// Every byte is handed over once and in order, in pieces of any size, until Wants...() is false;
// that comes after at most kMaxSniffBytes, and usually with the first packet. Bytes seen with
// MSG_PEEK must not be handed over a second time when they are read. After bytes have gone past
// unseen (a splice), call Stop() and hand over no more.

// No direction is looked at beyond this many bytes. A TLS record holds 16 KiB at most (RFC 8446,
// section 5.1) and a ClientHello with post-quantum key shares is under 2 KiB; servers refuse HTTP
// heads above 8 to 16 KiB.
inline constexpr std::size_t kMaxSniffBytes = 16 * 1024;

// The longest texts that are kept. The path is cut there, so that a line of the log stays below
// PIPE_BUF (4,096) and is written whole.
inline constexpr std::size_t kMaxServerName = 253;     // of a domain name (RFC 1035, 2.3.4)
inline constexpr std::size_t kMaxAuthority = 253 + 6;  // and ":65535"
inline constexpr std::size_t kMaxMethod = 24;          // longest registered: UPDATEREDIRECTREF, 17
inline constexpr std::size_t kMaxPath = 1024;
inline constexpr std::size_t kMaxUserAgent = 256;  // today's browsers send about 120

enum class SniffStatus : std::uint8_t {
  kNeedMore,       // all bytes fit so far; more of them would tell more
  kDone,           // all that can be learned is
  kNotRecognised,  // neither TLS nor HTTP: decided at the first byte that is impossible
};

enum class Spoken : std::uint8_t { kUnknown, kTls, kHttp1, kHttp2 };

// What was seen. Every text is printable ASCII (0x20 to 0x7e), so a log has to escape '"' and '\'
// only; "" and 0 mean "not seen".
struct Sniffed {
  Spoken spoken = Spoken::kUnknown;
  // TLS: the host name that the client asked for (RFC 6066, section 3), in lower case. Empty also
  // when it holds anything but letters, digits, '.', '-' and '_'.
  std::string server_name;
  // HTTP/1: of the first request on the connection. The path includes the query, other bytes are
  // percent-encoded; it is empty for CONNECT. The authority comes from the target when that has one
  // (RFC 9112, section 3.2.2), else from Host; it is empty when Host is missing, repeated or not a
  // host. In the user agent '?' stands for other bytes.
  std::string method;
  std::string path;
  std::string authority;
  std::string user_agent;
  // "HTTP/1.0", "HTTP/1.1" or "HTTP/2" (of which no more is looked at: its headers are compressed).
  std::string_view protocol;
  // HTTP/1: of the first response that is final (not 100 to 199, except for 101).
  std::uint16_t response_code = 0;

  friend bool operator==(const Sniffed&, const Sniffed&) = default;
};

// One connection's. Movable; not thread-safe. Allocates at the first byte that may begin TLS or
// HTTP, and gives back all that is not needed for result() when both directions are decided, so
// that a silent connection and one that speaks something else cost two words.
class Sniffer {
 public:
  Sniffer();
  ~Sniffer();
  Sniffer(Sniffer&&) noexcept;
  Sniffer& operator=(Sniffer&&) noexcept;

  bool WantsClient() const { return client_ == SniffStatus::kNeedMore; }
  bool WantsServer() const { return server_ == SniffStatus::kNeedMore; }

  // The next bytes from the client, or from the server. Returns that direction's status; bytes
  // after it was decided are ignored.
  SniffStatus FromClient(std::span<const std::uint8_t> bytes);
  SniffStatus FromServer(std::span<const std::uint8_t> bytes);

  // No more bytes are going to be handed over; what is known so far is kept.
  void Stop();

  // What is known now, or null when nothing was recognised. Valid until the next call.
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
