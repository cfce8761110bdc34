// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/explain/bits.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace sluice::capture::explain {
namespace {

bool CanBe(const Bits& bits, const ByteString& value) {
  for (std::size_t i = 0; i < std::min(value.size(), bits.value.size()); ++i) {
    if (((bits.value[i] ^ value[i]) & bits.known[i]) != 0) return false;
  }
  return true;
}

}  // namespace

bool Bits::whole() const {
  return std::ranges::all_of(known, [](std::uint8_t byte) { return byte == 0xff; });
}
std::uint32_t Bits::AsHost32() const {
  std::uint32_t out = 0;
  std::memcpy(&out, value.data(), std::min(value.size(), sizeof(out)));
  return out;
}
std::uint32_t Bits::KnownAsHost32() const {
  std::uint32_t out = 0;
  std::memcpy(&out, known.data(), std::min(known.size(), sizeof(out)));
  return out;
}

Bits Whole(ByteString value) {
  ByteString known(value.size(), 0xff);
  return {std::move(value), std::move(known)};
}

Bits UnknownBytes(std::size_t size) { return {ByteString(size, 0), ByteString(size, 0)}; }

ByteString Least(const Bits& bits) {
  ByteString out = bits.value;
  for (std::size_t i = 0; i < out.size(); ++i) out[i] &= bits.known[i];
  return out;
}
ByteString Greatest(const Bits& bits) {
  ByteString out = bits.value;
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<std::uint8_t>(out[i] | (~bits.known[i] & 0xff));
  }
  return out;
}

Meets Equal(const Bits& bits, const ByteString& value) {
  if (value.size() > bits.value.size()) return Meets::kUnknown;
  if (!CanBe(bits, value)) return Meets::kNo;
  return bits.whole() ? Meets::kYes : Meets::kUnknown;
}

Meets Between(const Bits& bits, const ByteString& first, const ByteString& last) {
  const ByteString least = Least(bits), greatest = Greatest(bits);
  if (greatest < first || least > last) return Meets::kNo;
  return least >= first && greatest <= last ? Meets::kYes : Meets::kUnknown;
}

Bits Part(const Bits& bits, std::size_t at, std::size_t size) {
  const auto part = [&](const ByteString& from) {
    const auto begin = from.begin() + static_cast<std::ptrdiff_t>(std::min(at, from.size()));
    const auto end = from.begin() + static_cast<std::ptrdiff_t>(std::min(at + size, from.size()));
    return ByteString(begin, end);
  };
  return {part(bits.value), part(bits.known)};
}

}  // namespace sluice::capture::explain
