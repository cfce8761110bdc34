// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "base/cidr.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <ostream>
#include <stdexcept>

#include "base/parse.h"

namespace sluice {
namespace {

IpAddress Masked(const IpAddress& address, int prefix_length) {
  std::array<std::uint8_t, 16> bytes{};
  const auto from = address.bytes();
  for (std::size_t i = 0; i < from.size(); ++i) {
    const int kept = std::clamp(prefix_length - static_cast<int>(i) * 8, 0, 8);
    bytes[i] = static_cast<std::uint8_t>(from[i] & (0xff00 >> kept));
  }
  return IpAddress::FromBytes(std::span(bytes).first(from.size()));
}

// Whether the first `length` bits are the same. Both are of one family.
bool SamePrefix(const IpAddress& one, const IpAddress& other, int length) {
  const auto ours = one.bytes();
  const auto theirs = other.bytes();
  const auto whole = static_cast<std::size_t>(length / 8);
  if (std::memcmp(ours.data(), theirs.data(), whole) != 0) return false;
  const int rest = length % 8;
  return rest == 0 || ((ours[whole] ^ theirs[whole]) >> (8 - rest)) == 0;
}

}  // namespace

Cidr::Cidr(IpAddress address, int prefix_length)
    : address_(Masked(address, prefix_length)), prefix_length_(prefix_length) {}

Cidr Cidr::Parse(std::string_view text) {
  const auto slash = text.find('/');
  IpAddress address;
  try {
    address = IpAddress::Parse(text.substr(0, slash));
  } catch (const std::invalid_argument&) {
    throw std::invalid_argument("an address or a range such as 10.0.0.0/8 or fd00::/8");
  }
  const int bits = AddressBits(address.family());
  if (slash == std::string_view::npos) return Cidr(address, bits);
  try {
    const auto length = ParseDecimal(text.substr(slash + 1), 0, static_cast<std::uint64_t>(bits));
    return Cidr(address, static_cast<int>(length));
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(std::string("behind the '/' ") + error.what());
  }
}

bool Cidr::Contains(const IpAddress& address) const {
  return address.family() == family() && SamePrefix(address, address_, prefix_length_);
}

bool Cidr::Contains(const Cidr& other) const {
  return other.prefix_length_ >= prefix_length_ && Contains(other.address_);
}

std::string Cidr::ToString() const {
  return address_.ToString() + "/" + std::to_string(prefix_length_);
}

std::ostream& operator<<(std::ostream& out, const Cidr& cidr) { return out << cidr.ToString(); }

std::vector<Cidr> Aggregate(std::vector<Cidr> ranges) {
  if (!std::ranges::is_sorted(ranges)) std::ranges::sort(ranges);
  std::vector<Cidr> merged;
  for (const Cidr& range : ranges) {
    // Sorted, so only the last kept range can contain this one.
    if (!merged.empty() && merged.back().Contains(range)) continue;
    merged.push_back(range);
    // Two neighbours of the same length with a common parent become that parent, which may in turn
    // merge with the one before it.
    while (merged.size() >= 2) {
      const Cidr& low = merged[merged.size() - 2];
      const Cidr& high = merged.back();
      const int length = high.prefix_length();
      if (length == 0 || low.prefix_length() != length || low.family() != high.family()) break;
      if (!SamePrefix(low.address(), high.address(), length - 1)) break;
      const Cidr parent(low.address(), length - 1);
      merged.pop_back();
      merged.back() = parent;
    }
  }
  return merged;
}

}  // namespace sluice
