// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <string_view>

namespace sluice {

// Whether an interface has that name. A pattern that ends in '+' stands for any ending, as in
// iptables(8); "+" is every interface.
inline bool MatchesInterface(std::string_view pattern, std::string_view name) {
  if (!pattern.ends_with('+')) return pattern == name;
  pattern.remove_suffix(1);
  return name.starts_with(pattern);
}

}  // namespace sluice
