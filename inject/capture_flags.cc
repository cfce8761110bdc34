// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "inject/capture_flags.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "capture/settings/init_config.h"
#include "capture/settings/option_table.h"
#include "capture/settings/settings.h"

namespace sluice::inject {
namespace {

using capture::OptionSpec;

// In every manifest of Istio's injector, in this order.
constexpr std::string_view kAlways[] = {"envoy-port",          "inbound-capture-port",
                                        "proxy-uid",           "istio-inbound-interception-mode",
                                        "istio-service-cidr",  "istio-service-exclude-cidr",
                                        "istio-inbound-ports", "istio-local-exclude-ports"};

// Flags that become annotations, for the CNI plugin and for people.
constexpr std::string_view kAnnotated[] = {"istio-inbound-interception-mode", "istio-inbound-ports",
                                           "istio-local-exclude-ports", "istio-service-cidr",
                                           "istio-service-exclude-cidr"};

bool IsOneOf(std::string_view name, const auto& names) {
  return std::ranges::find(names, name) != std::end(names);
}

void AddFlag(std::vector<std::string>& flags, const OptionSpec& option, const std::string& value) {
  if (option.letter == 0) {
    flags.push_back(capture::FlagOf(option) + "=" + value);
  } else if (option.kind == capture::OptionKind::kBool) {
    flags.push_back(std::string("-") + option.letter + "=" + value);
  } else {
    flags.push_back(std::string("-") + option.letter);
    flags.push_back(value);
  }
}

}  // namespace

CaptureFlags FlagsOf(const Settings& settings, const capture::Annotations& annotations,
                     unsigned status_port) {
  const capture::Settings values = capture::PodSettings(settings.capture, annotations, status_port);
  CaptureFlags out;
  capture::InitConfig config = capture::ToInitConfig(values);
  out.nftables = config.backend == capture::BackendChoice::kNftables;
  out.config = std::move(config.capture);
  out.outbound_port = values.Text("envoy-port");
  out.inbound_port = values.Text("inbound-capture-port");
  for (const std::string_view name : kAlways) {
    AddFlag(out.flags, *capture::FindOption(name), values.Text(name));
  }
  for (const OptionSpec& option : capture::Options()) {
    const std::string& value = values.Text(option.name);
    if (IsOneOf(option.name, kAlways) || value == option.fallback) continue;
    AddFlag(out.flags, option, value);
  }
  for (const std::string_view name : kAnnotated) {
    out.annotations.emplace_back(capture::FindOption(name)->annotations[0], values.Text(name));
  }
  // All flags, if a plugin writes the rules: it sees nothing but annotations.
  if (settings.cni) {
    out.annotations.emplace_back(capture::kCaptureAnnotation, capture::DescribeCapture(values));
  }
  return out;
}

}  // namespace sluice::inject
