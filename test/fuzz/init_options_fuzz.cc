// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
// The command line and the environment of sluice-init, up to the resulting rules. The input is a
// list of words, one per line; after an empty line variables, "NAME=value".
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "capture/capture_rules.h"
#include "capture/settings/effective.h"
#include "capture/settings/init_config.h"
#include "capture/settings/settings.h"
#include "iptables/compile.h"
#include "iptables/layout/xt_entry.h"
#include "iptables/restore_text.h"
#include "test/fuzz/fuzz.h"

namespace sluice {
namespace {

struct Words {
  std::vector<std::string> arguments;
  std::vector<std::string> variables;
};

Words Split(std::string_view text) {
  constexpr std::size_t kMaxWords = 32;
  Words out;
  auto* into = &out.arguments;
  while (!text.empty() && into->size() < kMaxWords) {
    const auto end = text.find('\n');
    const std::string_view word = text.substr(0, end);
    if (word.empty() && into == &out.arguments && end != std::string_view::npos) {
      into = &out.variables;
    } else {
      // Words that a command line can contain; and not --config, whose file is not tested here.
      if (word.find('\0') != std::string_view::npos ||
          word.find("config") != std::string_view::npos) {
        return {};
      }
      into->emplace_back(word == "''" ? "" : word);
    }
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  return out;
}

// Netfilter must be able to express whatever was accepted.
void Build(capture::CaptureConfig& config) {
  config.ipv6 = true;
  const capture::RuleSet rules = iptables::Compile(capture::BuildRules(config));
  fuzz::Require(!iptables::RestoreText(rules).empty(), "there are rules");
  for (const Family family : capture::kFamilies) {
    for (const capture::TableRules& table : rules.family(family).tables) {
      for (const capture::Chain& chain : table.chains) {
        for (const capture::Rule& rule : chain.rules) iptables::EncodeEntry(rule, family);
      }
    }
  }
}

}  // namespace
}  // namespace sluice

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;  // NOLINT(google-build-using-namespace): the whole of a program
  using fuzz::Require;
  constexpr std::size_t kMaxSize = 4096;
  if (size > kMaxSize) return 0;
  const Words words = Split({reinterpret_cast<const char*>(data), size});
  const auto environment = [&words](const char* name) -> const char* {
    const std::string start = std::string(name) + "=";
    for (const std::string& variable : words.variables) {
      if (variable.starts_with(start) && start != "SLUICE_CONFIG=") {
        return variable.c_str() + start.size();
      }
    }
    return nullptr;
  };
  try {
    const capture::Settings settings = capture::ParseCommandLine(words.arguments, environment);
    capture::InitConfig config = capture::ToInitConfig(settings);
    capture::DescribeSettings(settings, config);
    Require(!config.capture.proxy_uids.empty(), "there is a proxy");
    Require(config.probe_timeout >= std::chrono::hours(0) &&
                config.probe_timeout <= std::chrono::hours(24),
            "a duration is in its bounds");
    Build(config.capture);
  } catch (const Error& error) {
    Require(error.kind() == ErrorKind::kUsage, "the only error is one of usage");
    Require(!error.text().why.empty(), "an error says why");
  }
  return 0;
}
