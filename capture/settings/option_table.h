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

// One setting: a flag, a letter, environment variables and a key of the configuration file, all of
// one name. The first block of the table is istio-iptables' vocabulary, unchanged.
struct OptionSpec {
  std::string_view name;  // "istio-inbound-ports"
  char letter = 0;        // 'b'; 0 for none
  OptionKind kind = OptionKind::kText;
  const char* fallback = "";  // the default
  const char* help = "";
  // Read after the name's own variable; the first that is set wins. nullptr for none.
  std::array<const char*, 2> other_variables = {};
  // Not empty: accepted by istio-iptables, refused here, and why.
  const char* refused = "";
  // Not empty: accepted by istio-iptables, without a meaning here and safe to ignore, and why.
  const char* ignored = "";
  // Of a pod, for sluice-inject; the first that a pod has wins. nullptr for none.
  std::array<const char*, 2> annotations = {};
  // Ours, with a name that others may use for their own: the variable begins with SLUICE_.
  bool ours = false;
  // Without a variable, as in istio-iptables, where the logging flags have none.
  bool flag_only = false;
  // The name's own variable, "ISTIO_INBOUND_PORTS", made of the above.
  std::array<char, 64> variable = {};
};

std::span<const OptionSpec> Options();

// The position in Options(); their number when there is none of that name.
std::size_t IndexOfOption(std::string_view name);

// All of their names, in that order.
std::vector<std::string_view> OptionNames();

// nullptr when there is none of that name.
const OptionSpec* FindOption(std::string_view name);

// "istio-inbound-ports" -> "--istio-inbound-ports".
std::string FlagOf(const OptionSpec& option);

}  // namespace sluice::capture
