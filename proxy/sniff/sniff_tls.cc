// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/sniff/sniff_tls.h"

#include <algorithm>
#include <utility>

namespace sluice::proxy {
namespace {

constexpr std::uint8_t kHandshakeRecord = 22;
constexpr std::uint8_t kClientHello = 1;
constexpr std::uint8_t kMajorVersion = 3;       // of SSL 3.0 and all versions of TLS
constexpr std::uint32_t kMaxRecord = 1U << 14;  // RFC 8446, section 5.1
constexpr std::uint32_t kMaxMessage = kMaxSniffBytes;
constexpr std::uint32_t kMinMessage = 2 + 32 + 1 + 2 + 2 + 2;  // every field at its minimum
constexpr std::uint32_t kRandom = 32;
constexpr std::uint32_t kMaxSessionId = 32;
constexpr std::uint32_t kServerNameExtension = 0;
constexpr std::uint32_t kHostName = 0;

bool IsHostCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

}  // namespace

SniffStatus TlsClientHello::Feed(std::span<const std::uint8_t> bytes, Sniffed& seen) {
  while (!bytes.empty()) {
    if (record_left_ == 0) {
      if (!RecordHeaderByte(bytes.front())) return SniffStatus::kNotRecognised;
      bytes = bytes.subspan(1);
      continue;
    }
    if (skip_ > 0) {
      const auto available = std::min<std::size_t>(bytes.size(), record_left_);
      const auto skipped = std::min<std::uint32_t>(skip_, static_cast<std::uint32_t>(available));
      skip_ -= skipped;
      record_left_ -= skipped;
      bytes = bytes.subspan(skipped);
      continue;
    }
    --record_left_;
    const SniffStatus status = MessageByte(bytes.front(), seen);
    if (status != SniffStatus::kNeedMore) return status;
    bytes = bytes.subspan(1);
  }
  return SniffStatus::kNeedMore;
}

// Type (1 byte), version (2), length (2).
bool TlsClientHello::RecordHeaderByte(std::uint8_t byte) {
  switch (header_bytes_++) {
    case 0:
      return byte == kHandshakeRecord;
    case 1:
      return byte == kMajorVersion;
    case 2:
      return true;  // the minor version of a record has no meaning (RFC 8446, section 5.1)
    case 3:
      record_length_ = static_cast<std::uint32_t>(byte) << 8;
      return record_length_ <= kMaxRecord;
    default:
      header_bytes_ = 0;
      record_left_ = record_length_ | byte;
      return record_left_ > 0 && record_left_ <= kMaxRecord;
  }
}

SniffStatus TlsClientHello::MessageByte(std::uint8_t byte, Sniffed& seen) {
  if (name_left_ > 0) {
    const char c = static_cast<char>(byte >= 'A' && byte <= 'Z' ? byte + ('a' - 'A') : byte);
    if (!IsHostCharacter(c)) {
      seen.spoken = Spoken::kTls;
      return SniffStatus::kDone;
    }
    name_.push_back(c);
    if (--name_left_ > 0) return SniffStatus::kNeedMore;
    seen.spoken = Spoken::kTls;
    seen.server_name = std::move(name_);
    return SniffStatus::kDone;
  }
  value_ = value_ << 8 | byte;
  if (--value_bytes_ > 0) return SniffStatus::kNeedMore;
  const SniffStatus status = FieldDone(std::exchange(value_, 0));
  if (status == SniffStatus::kDone) seen.spoken = Spoken::kTls;
  return status;
}

bool TlsClientHello::Expect(Field field, std::uint32_t bytes, std::uint32_t skip) {
  if (message_left_ < skip || message_left_ - skip < bytes) return false;
  message_left_ -= skip + bytes;
  field_ = field;
  value_bytes_ = bytes;
  skip_ = skip;
  return true;
}

SniffStatus TlsClientHello::ExpectIf(bool sane, Field field, std::uint32_t bytes,
                                     std::uint32_t skip) {
  return sane && Expect(field, bytes, skip) ? SniffStatus::kNeedMore : SniffStatus::kNotRecognised;
}

SniffStatus TlsClientHello::FieldDone(std::uint32_t value) {
  switch (field_) {
    case Field::kMessageType:
      return ExpectIf(value == kClientHello, Field::kMessageLength, 3);
    case Field::kMessageLength:
      message_left_ = value;
      return ExpectIf(value >= kMinMessage && value <= kMaxMessage, Field::kVersion, 2);
    case Field::kVersion:
      return ExpectIf(value >> 8 == kMajorVersion, Field::kSessionIdLength, 1, kRandom);
    case Field::kSessionIdLength:
      return ExpectIf(value <= kMaxSessionId, Field::kCipherSuitesLength, 2, value);
    case Field::kCipherSuitesLength:
      return ExpectIf(value >= 2 && value % 2 == 0, Field::kCompressionLength, 1, value);
    case Field::kCompressionLength:
      // Before TLS 1.3 the message may end here, without extensions.
      if (value > 0 && value == message_left_) return SniffStatus::kDone;
      return ExpectIf(value > 0, Field::kExtensionsLength, 2, value);
    case Field::kExtensionsLength:
      return value == message_left_ ? ExpectExtension(0) : SniffStatus::kNotRecognised;
    case Field::kExtensionType:
      extension_type_ = value;
      return ExpectIf(true, Field::kExtensionLength, 2);
    case Field::kExtensionLength:
      if (value > message_left_) return SniffStatus::kNotRecognised;
      if (extension_type_ != kServerNameExtension) return ExpectExtension(value);
      extension_length_ = value;
      return ExpectIf(value >= 2 + 1 + 2, Field::kNameListLength, 2);
    case Field::kNameListLength:
      return ExpectIf(value == extension_length_ - 2, Field::kNameType, 1);
    case Field::kNameType:
      // No other type was ever defined; if there is one, there is no host name.
      if (value != kHostName) return SniffStatus::kDone;
      return ExpectIf(true, Field::kNameLength, 2);
    case Field::kNameLength:
      if (value == 0 || value > extension_length_ - 5) return SniffStatus::kNotRecognised;
      if (value > kMaxServerName) return SniffStatus::kDone;
      name_left_ = value;
      return SniffStatus::kNeedMore;
  }
  return SniffStatus::kNotRecognised;
}

// The next extension begins after `skip` bytes, unless the message ends there.
SniffStatus TlsClientHello::ExpectExtension(std::uint32_t skip) {
  if (skip == message_left_) return SniffStatus::kDone;
  return ExpectIf(true, Field::kExtensionType, 2, skip);
}

}  // namespace sluice::proxy
