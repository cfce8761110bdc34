// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ip_address.h"
#include "capture/explain/model.h"

namespace sluice::capture::explain {

// How much is looked at, so that ten thousand foreign rules do not cost a start.
inline constexpr std::size_t kMostVisits = 20'000;  // rules on the ways to those that decide
inline constexpr std::size_t kMostWays = 1'000;     // ways to rules that decide
inline constexpr std::size_t kMostValues = 8;       // of a set

// What connections must be like to come to a rule. Empty: not said.
struct Way {
  HookPoint hook = HookPoint::kOutput;
  std::vector<IpAddress> from = {};
  std::vector<IpAddress> to = {};
  std::vector<std::uint16_t> ports = {};
  std::optional<std::uint16_t> source_port = {};
  std::optional<Protocol> protocol = {};
  std::string in = {};
  std::string out = {};
  std::optional<std::uint32_t> uid = {};
  std::optional<std::uint32_t> gid = {};
};

// The ways to the rules of `others` that do something, for `family`; at most kMostWays. Pure.
std::vector<Way> FindWays(const Model& others, Family family);

// Adds what is not there yet, up to `most`.
template <typename T>
void AddOnce(std::vector<T>& to, const T& value, std::size_t most) {
  if (to.size() < most && std::ranges::find(to, value) == to.end()) to.push_back(value);
}

}  // namespace sluice::capture::explain
