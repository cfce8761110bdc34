// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "proxy/sniff/sniff.h"

namespace sluice::proxy {

// Reads the server name from a TLS ClientHello (RFC 8446, sections 4.1.2 and 5.1; RFC 6066, section
// 3), which may be split over records and calls in any way. Keeps counters and the name, never the
// message. Every length is checked against the enclosing one.
class TlsClientHello {
 public:
  // The next bytes of the stream. Do not call again after any result but kNeedMore; `seen` changes
  // only with kDone.
  SniffStatus Feed(std::span<const std::uint8_t> bytes, Sniffed& seen);

 private:
  // The fields of a ClientHello, in order.
  enum class Field : std::uint8_t {
    kMessageType,
    kMessageLength,
    kVersion,
    kSessionIdLength,
    kCipherSuitesLength,
    kCompressionLength,
    kExtensionsLength,
    kExtensionType,
    kExtensionLength,
    kNameListLength,
    kNameType,
    kNameLength,
  };

  bool RecordHeaderByte(std::uint8_t byte);
  SniffStatus MessageByte(std::uint8_t byte, Sniffed& seen);
  SniffStatus FieldDone(std::uint32_t value);
  // The next field has `bytes` bytes, after `skip` bytes to ignore. False when the message is too
  // short for both.
  bool Expect(Field field, std::uint32_t bytes, std::uint32_t skip);
  SniffStatus ExpectIf(bool sane, Field field, std::uint32_t bytes, std::uint32_t skip = 0);
  SniffStatus ExpectExtension(std::uint32_t skip);

  // The record around the message.
  std::uint8_t header_bytes_ = 0;
  std::uint32_t record_length_ = 0;
  std::uint32_t record_left_ = 0;

  // The message: the current field, and how much follows it.
  Field field_ = Field::kMessageType;
  std::uint32_t value_ = 0;
  std::uint32_t value_bytes_ = 1;
  std::uint32_t skip_ = 0;
  std::uint32_t message_left_ = 3;
  std::uint32_t extension_type_ = 0;
  std::uint32_t extension_length_ = 0;
  std::uint32_t name_left_ = 0;
  std::string name_;
};

}  // namespace sluice::proxy
