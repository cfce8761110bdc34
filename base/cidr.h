// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <compare>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip_address.h"

namespace sluice {

// A range of addresses, "10.0.0.0/8". The bits after the prefix are always zero, so that equal
// ranges are equal values. Ordered by family, address, then prefix length (the wider range first).
class Cidr {
 public:
  // 0.0.0.0/0
  constexpr Cidr() = default;

  // Clears the bits after the prefix. `prefix_length` must be in [0, 32] or [0, 128].
  Cidr(IpAddress address, int prefix_length);

  // "address/length", or a single address, which means that host. Bits after the prefix are
  // dropped, as iptables does. Throws std::invalid_argument saying what is expected.
  static Cidr Parse(std::string_view text);

  const IpAddress& address() const { return address_; }
  int prefix_length() const { return prefix_length_; }
  Family family() const { return address_.family(); }

  bool Contains(const IpAddress& address) const;
  bool Contains(const Cidr& other) const;

  // "10.0.0.0/8"; always with the length.
  std::string ToString() const;

  friend constexpr auto operator<=>(const Cidr&, const Cidr&) = default;

 private:
  IpAddress address_;
  int prefix_length_ = 0;
};

std::ostream& operator<<(std::ostream& out, const Cidr& cidr);

// The shortest list that covers exactly the same addresses: ranges inside another are dropped, and
// two halves become the whole. Sorted. Families are kept apart.
std::vector<Cidr> Aggregate(std::vector<Cidr> ranges);

}  // namespace sluice
