// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace sluice::proxy {

// A picture of netfilter's rules, which `sluice-init graph` writes: the proxy has no privilege to
// read the rules, and does not need it for this.
struct RulesPicture {
  std::string svg = {};      // empty if there is none
  std::string problem = {};  // why
  std::int64_t unix_ms = 0;  // when it was written
};

// The largest that is shown. 120 chains of 40 rules of 160 characters in both families, which is
// all that sluice-init draws, take half of it.
inline constexpr std::size_t kMostPictureBytes = 4U << 20;

// Reads `path` without waiting, whatever it is. What it holds is not trusted: it must only be shown
// where no script in it runs.
RulesPicture ReadRulesPicture(const std::string& path);

}  // namespace sluice::proxy
