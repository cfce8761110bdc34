// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// Lists of ports and port ranges, as users type them, and their shortest form.
#include <algorithm>
#include <bitset>
#include <memory>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "base/parse.h"
#include "base/port_range.h"
#include "test/fuzz/fuzz.h"

namespace sluice {
namespace {

using Ports = std::bitset<65536>;

std::unique_ptr<Ports> Cover(const std::vector<PortRange>& ranges) {
  auto out = std::make_unique<Ports>();
  for (const PortRange& range : ranges) {
    for (std::size_t port = range.first; port <= range.last; ++port) out->set(port);
  }
  return out;
}

}  // namespace
}  // namespace sluice

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;  // NOLINT(google-build-using-namespace): the whole of a program
  using fuzz::Require;
  constexpr std::size_t kMaxRanges = 8;  // each may have 65,535 ports to check
  std::vector<PortRange> ranges;
  try {
    for (const std::string_view item : SplitList({reinterpret_cast<const char*>(data), size})) {
      const PortRange range = PortRange::Parse(item);
      Require(range.first > 0 && range.first <= range.last, "a range has ports, and not port 0");
      Require(PortRange::Parse(range.ToString()) == range, "text is read as written");
      ranges.push_back(range);
      if (ranges.size() == kMaxRanges) break;
    }
  } catch (const std::invalid_argument&) {
    return 0;  // refused, as most inputs should be
  }
  const std::vector<PortRange> merged = Coalesce(ranges);
  Require(*Cover(merged) == *Cover(ranges), "the same ports are covered");
  for (std::size_t i = 1; i < merged.size(); ++i) {
    Require(merged[i - 1].last + 1 < merged[i].first, "sorted, with a gap between ranges");
  }
  std::reverse(ranges.begin(), ranges.end());
  Require(Coalesce(ranges) == merged, "the order does not matter");
  return 0;
}
