// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::capture {

enum class OptionKind { kText, kBool };

// One setting: a flag, a letter, environment variables and a configuration file key, all with one
// name. The first part of the table is istio-iptables' vocabulary, unchanged.
struct OptionSpec {
  std::string_view name;  // "istio-inbound-ports"
  char letter = 0;        // 'b'; 0 for none
  OptionKind kind = OptionKind::kText;
  const char* fallback = "";  // the default
  const char* help = "";
  // Read after the option's own variable; the first one that is set wins. nullptr for none.
  std::array<const char*, 2> other_variables = {};
  // If not empty, why Sluice refuses this option, which istio-iptables accepts.
  const char* refused = "";
  // If not empty, why Sluice can safely ignore this option, which istio-iptables accepts.
  const char* ignored = "";
  // Pod annotations, for sluice-inject; the first one present wins. nullptr for none.
  std::array<const char*, 2> annotations = {};
  // Sluice's own, with a name that others may use: the variable begins with SLUICE_.
  bool ours = false;
  // Has no variable: istio-iptables has none for its logging flags.
  bool flag_only = false;
  // The option's own variable, "ISTIO_INBOUND_PORTS", made from the name.
  std::array<char, 64> variable = {};
};

std::span<const OptionSpec> Options();

// The position in Options(); the number of options when the name is unknown.
std::size_t IndexOfOption(std::string_view name);

// The names of all options, in the same order.
std::vector<std::string_view> OptionNames();

// nullptr when the name is unknown.
const OptionSpec* FindOption(std::string_view name);

// "istio-inbound-ports" -> "--istio-inbound-ports".
std::string FlagOf(const OptionSpec& option);

}  // namespace sluice::capture
