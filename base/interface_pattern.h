// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string_view>

namespace sluice {

// Whether `name` matches `pattern`. A pattern that ends in '+' matches any ending, as in
// iptables(8); "+" matches every interface.
inline bool MatchesInterface(std::string_view pattern, std::string_view name) {
  if (!pattern.ends_with('+')) return pattern == name;
  pattern.remove_suffix(1);
  return name.starts_with(pattern);
}

}  // namespace sluice
