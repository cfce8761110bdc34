// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Lists of address ranges, as users type them, and their shortest form.
#include <algorithm>
#include <array>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "base/cidr.h"
#include "base/parse.h"
#include "test/fuzz/fuzz.h"

namespace sluice {
namespace {

using fuzz::Require;

constexpr std::size_t kMaxRanges = 64;  // more would test nothing new, and be slow

bool Covers(const std::vector<Cidr>& ranges, const IpAddress& address) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](const Cidr& range) { return range.Contains(address); });
}

// The last address of `range`.
IpAddress Last(const Cidr& range) {
  std::array<std::uint8_t, 16> bytes{};
  const auto from = range.address().bytes();
  std::copy(from.begin(), from.end(), bytes.begin());
  for (int bit = range.prefix_length(); bit < AddressBits(range.family()); ++bit) {
    auto& byte = bytes[static_cast<std::size_t>(bit / 8)];
    byte = static_cast<std::uint8_t>(byte | 0x80 >> bit % 8);
  }
  return IpAddress::FromBytes(std::span(bytes).first(from.size()));
}

// The address after `address` (step 1) or before it (step -1), with wrap-around.
IpAddress Neighbour(const IpAddress& address, int step) {
  std::array<std::uint8_t, 16> bytes{};
  const auto from = address.bytes();
  std::copy(from.begin(), from.end(), bytes.begin());
  for (std::size_t i = from.size(); i-- > 0;) {
    bytes[i] = static_cast<std::uint8_t>(bytes[i] + step);
    if (bytes[i] != (step > 0 ? 0x00 : 0xff)) break;
  }
  return IpAddress::FromBytes(std::span(bytes).first(from.size()));
}

// Coverage changes only at the ends of ranges, so it is enough to compare there.
void RequireSameCover(const std::vector<Cidr>& one, const std::vector<Cidr>& other) {
  for (const auto* ranges : {&one, &other}) {
    for (const Cidr& range : *ranges) {
      const IpAddress last = Last(range);
      for (const IpAddress& address :
           {range.address(), last, Neighbour(range.address(), -1), Neighbour(last, 1)}) {
        Require(Covers(one, address) == Covers(other, address), "the same addresses are covered");
      }
    }
  }
}

}  // namespace
}  // namespace sluice

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;  // NOLINT(google-build-using-namespace): the whole of a program
  std::vector<Cidr> ranges;
  try {
    for (const std::string_view item : SplitList({reinterpret_cast<const char*>(data), size})) {
      ranges.push_back(Cidr::Parse(item));
      Require(Cidr::Parse(ranges.back().ToString()) == ranges.back(), "text is read as written");
      Require(ranges.back().Contains(ranges.back().address()) &&
                  ranges.back().Contains(Last(ranges.back())),
              "a range contains its ends");
      if (ranges.size() == kMaxRanges) break;
    }
  } catch (const std::invalid_argument&) {
    return 0;  // refused, as most inputs should be
  }
  const std::vector<Cidr> merged = Aggregate(ranges);
  RequireSameCover(ranges, merged);
  Require(merged.size() <= ranges.size(), "no more ranges than before");
  Require(std::is_sorted(merged.begin(), merged.end()), "sorted");
  Require(Aggregate(merged) == merged, "nothing more to merge");
  std::reverse(ranges.begin(), ranges.end());
  Require(Aggregate(ranges) == merged, "the order does not matter");
  return 0;
}
