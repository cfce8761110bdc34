// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "proxy/sniff/sniff.h"

namespace sluice::proxy {

// A parser's result for the first bytes.
struct Answer {
  SniffStatus status = SniffStatus::kNeedMore;
  Sniffed seen;

  friend bool operator==(const Answer&, const Answer&) = default;
};

inline std::span<const std::uint8_t> AsBytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

}  // namespace sluice::proxy
