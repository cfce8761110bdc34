// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "proxy/sniff/mutual_tls_offer.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "proxy/sniff/sniff.h"

namespace sluice::proxy {
namespace {

constexpr std::uint8_t kHandshake = 22;          // of a record
constexpr std::uint8_t kHello = 1;               // of a handshake message
constexpr std::uint8_t kMajor = 3;               // of SSL 3.0 and every TLS
constexpr std::size_t kRecordHead = 5;           // type, version, length
constexpr std::size_t kMessageHead = 4;          // type, length
constexpr std::size_t kLongestRecord = 1 << 14;  // RFC 8446, section 5.1
constexpr std::uint32_t kAlpn = 16;              // RFC 7301, section 3.1
constexpr std::string_view kIstio = "istio";     // and what begins with it

using Bytes = std::span<const std::uint8_t>;

// Takes numbers and parts off the front of a message; nothing when it is too short.
class Reader {
 public:
  explicit Reader(Bytes bytes) : bytes_(bytes) {}

  bool empty() const { return bytes_.empty(); }
  std::optional<Bytes> Take(std::size_t size) {
    if (bytes_.size() < size) return std::nullopt;
    const Bytes out = bytes_.first(size);
    bytes_ = bytes_.subspan(size);
    return out;
  }
  std::optional<std::uint32_t> Number(std::size_t size) {
    const std::optional<Bytes> digits = Take(size);
    if (!digits) return std::nullopt;
    std::uint32_t out = 0;
    for (const std::uint8_t digit : *digits) out = out << 8 | digit;
    return out;
  }
  // What has its length in front, in `size` bytes.
  std::optional<Bytes> Sized(std::size_t size) {
    const std::optional<std::uint32_t> length = Number(size);
    return length ? Take(*length) : std::nullopt;
  }

 private:
  Bytes bytes_;
};

bool NamesIstio(Bytes extension) {
  const std::optional<Bytes> list = Reader(extension).Sized(2);
  if (!list) return false;
  Reader names(*list);
  while (const std::optional<Bytes> name = names.Sized(1)) {
    if (name->size() >= kIstio.size() && std::ranges::equal(name->first(kIstio.size()), kIstio)) {
      return true;
    }
  }
  return false;
}

// Of a whole ClientHello without its head (RFC 8446, section 4.1.2).
bool OffersIstio(Bytes hello) {
  Reader reader(hello);
  // Version and random; session ID, cipher suites, compression methods.
  if (!reader.Take(2 + 32) || !reader.Sized(1) || !reader.Sized(2) || !reader.Sized(1)) {
    return false;
  }
  const std::optional<Bytes> extensions = reader.Sized(2);
  if (!extensions) return false;
  Reader each(*extensions);
  while (!each.empty()) {
    const std::optional<std::uint32_t> type = each.Number(2);
    const std::optional<Bytes> content = each.Sized(2);
    if (!type || !content) return false;
    if (*type == kAlpn) return NamesIstio(*content);
  }
  return false;
}

}  // namespace

MtlsOffer OffersMutualTls(std::span<const std::uint8_t> bytes) {
  const bool all = bytes.size() >= kMaxSniffBytes;
  bytes = bytes.first(std::min(bytes.size(), kMaxSniffBytes));
  std::vector<std::uint8_t> message;
  while (!bytes.empty()) {
    if (bytes[0] != kHandshake || (bytes.size() > 1 && bytes[1] != kMajor)) return MtlsOffer::kNo;
    if (bytes.size() < kRecordHead) break;
    const std::size_t length = std::size_t{bytes[3]} << 8 | bytes[4];
    if (length == 0 || length > kLongestRecord) return MtlsOffer::kNo;
    bytes = bytes.subspan(kRecordHead);
    const Bytes part = bytes.first(std::min(length, bytes.size()));
    message.insert(message.end(), part.begin(), part.end());
    if (!message.empty() && message[0] != kHello) return MtlsOffer::kNo;
    if (message.size() >= kMessageHead) {
      const std::size_t size =
          std::size_t{message[1]} << 16 | std::size_t{message[2]} << 8 | message[3];
      if (size > kMaxSniffBytes) return MtlsOffer::kNo;
      if (message.size() >= kMessageHead + size) {
        return OffersIstio(Bytes(message).subspan(kMessageHead, size)) ? MtlsOffer::kYes
                                                                       : MtlsOffer::kNo;
      }
    }
    if (part.size() < length) break;
    bytes = bytes.subspan(length);
  }
  return all ? MtlsOffer::kNo : MtlsOffer::kNeedMore;
}

}  // namespace sluice::proxy
