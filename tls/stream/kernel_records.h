// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "tls/stream/stream.h"

// TLS of the kernel (kTLS, Documentation/networking/tls.rst), for this directory only.
namespace sluice::tls {

// The secret of one direction (RFC 8446, section 7.1), which is wiped at the end.
struct TrafficSecret {
  std::array<std::uint8_t, 48> bytes{};
  std::size_t size = 0;  // 32 (SHA-256) or 48 (SHA-384); 0: none

  TrafficSecret() = default;
  // From hexadecimal digits.
  void Set(std::string_view digits);
  TrafficSecret(const TrafficSecret&) = delete;
  TrafficSecret& operator=(const TrafficSecret&) = delete;
  ~TrafficSecret();
};

// Derives `out` from the secret: HKDF-Expand-Label with an empty context (RFC 8446, section 7.1).
bool ExpandLabel(const TrafficSecret& secret, const char* label, std::span<std::uint8_t> out);

// The bytes that a socket has taken from whoever writes to it, counted from anywhere.
struct TakenBytes {
  std::uint64_t bytes = 0;  // if not exact, at least these
  bool exact = true;
};
// The bytes that the peer has confirmed, and those that wait for that. They are two numbers, asked
// for one after the other, and bytes that are confirmed in between are in both or in neither: so
// both are asked for until nothing was, at most kMostLooks times. `waiting` and `confirmed` return
// what SIOCOUTQ and tcpi_bytes_acked say now.
inline constexpr int kMostLooks = 16;
TakenBytes CountTaken(const std::function<std::uint64_t()>& waiting,
                      const std::function<std::uint64_t()>& confirmed);

// The records of one established connection of TLS 1.3 in the kernel: it encrypts what is sent and
// decrypts what is received, and gives out records that are not the application's as such. A
// kernel before 6.14 cannot change keys: a peer that does so (KeyUpdate) ends the connection. The
// functions are those of Stream.
class KernelRecords {
 public:
  enum class Started : std::uint8_t {
    kNo,      // the socket is as it was
    kYes,     // the kernel does it in both directions
    kBroken,  // in one direction only: the connection is lost
  };

  // No record has been sent or received with these secrets yet. `cipher` is the number of a cipher
  // suite (RFC 8446, section B.4).
  Started Start(int fd, Stream::Role role, std::uint32_t cipher, const TrafficSecret& ours,
                const TrafficSecret& theirs);

  Stream::Result Read(std::span<char> into);
  Stream::Result Write(std::span<const char> from);
  // kDone: close_notify and all before it are in the socket, and the socket may be closed.
  Stream::Result Shutdown();
  // Bytes of records that the kernel holds before the socket, because that is full: they are lost
  // if it is closed then. Too many while the peer confirms bytes all the time, never too few.
  std::size_t Unsent() const;

  const std::string& why() const { return why_; }
  bool refused() const { return refused_; }

 private:
  Stream::Result Fail(int error);
  Stream::Result FailWith(std::string why, std::uint8_t alert);
  // Bytes of an alert or of the handshake. Nothing: go on reading.
  std::optional<Stream::Result> OnAlert(std::span<const char> bytes);
  std::optional<Stream::Result> OnHandshake(std::span<const char> bytes);
  // Returns what sendmsg(2) does.
  std::ptrdiff_t SendAlert(std::uint8_t level, std::uint8_t description);
  TakenBytes TakenBySocket() const;

  int fd_ = -1;
  bool client_ = false;
  bool said_end_ = false;
  bool refused_ = false;
  std::uint8_t partial_size_ = 0;
  std::array<std::uint8_t, 4> partial_{};  // an alert, or a message's head, that came in pieces
  std::uint32_t skip_ = 0;                 // of a message
  std::uint64_t taken_at_start_ = 0;
  std::uint64_t plaintext_ = 0;  // bytes that were passed to the kernel
  std::string why_;
};

}  // namespace sluice::tls
