#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::init {

enum class OptionKind { kText, kBool };

// One setting: a flag, a letter, environment variables and a key of the configuration file, all of
// one name. The first block of the table is istio-iptables' vocabulary, unchanged.
struct OptionSpec {
  const char* name;  // "istio-inbound-ports"
  char letter = 0;   // 'b'; 0 for none
  OptionKind kind = OptionKind::kText;
  const char* fallback = "";  // the default
  const char* help = "";
  // Read after the name's own variable; the first that is set wins.
  std::vector<const char*> other_variables = {};
  // Not empty: accepted by istio-iptables, refused here, and why.
  const char* refused = "";
  // Ours, with a name that others may use for their own: the variable begins with SLUICE_.
  bool ours = false;
};

std::span<const OptionSpec> Options();

// nullptr when there is none of that name.
const OptionSpec* FindOption(std::string_view name);

// "istio-inbound-ports" -> "ISTIO_INBOUND_PORTS".
std::string VariableOf(const OptionSpec& option);

}  // namespace sluice::init
