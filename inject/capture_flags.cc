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

// In every manifest of the field, and in this order.
constexpr std::string_view kAlways[] = {"envoy-port",          "inbound-capture-port",
                                        "proxy-uid",           "istio-inbound-interception-mode",
                                        "istio-service-cidr",  "istio-service-exclude-cidr",
                                        "istio-inbound-ports", "istio-local-exclude-ports"};

// Those that a manifest is annotated with, so that a CNI plugin and people can read them.
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

bool IsCaptureAnnotation(std::string_view name) {
  return std::ranges::any_of(capture::Options(), [name](const OptionSpec& option) {
    return std::ranges::any_of(
        option.annotations, [name](const char* each) { return each != nullptr && name == each; });
  });
}

CaptureFlags FlagsOf(const Settings& settings, const Annotations& annotations,
                     unsigned status_port) {
  capture::Settings values;
  for (const OptionSpec& option : capture::Options())
    values.values.push_back({option.fallback, {}});
  const auto set = [&values](std::string_view name, std::string value, std::string origin) {
    values.values.at(capture::IndexOfOption(name)) = {std::move(value), std::move(origin)};
  };
  // All is captured unless somebody says otherwise, but for the proxy's own ports.
  std::string own_ports = "15090";
  if (status_port != 0) own_ports += "," + std::to_string(status_port);
  set("proxy-uid", "1337", {});
  set("istio-service-cidr", "*", {});
  set("istio-inbound-ports", "*", {});
  set("istio-local-exclude-ports", own_ports, {});
  for (const auto& [name, value] : settings.capture) {
    set(name, value, "--capture " + name);
  }
  for (const OptionSpec& option : capture::Options()) {
    for (const char* const annotation : option.annotations) {
      const std::string* const value = annotation == nullptr ? nullptr : annotations(annotation);
      if (value == nullptr) continue;
      set(option.name, *value, "the annotation " + std::string(annotation));
      break;
    }
  }
  // The check is of what was given; the proxy's own ports are not the user's to know.
  CaptureFlags out;
  capture::ToInitConfig(values);
  auto& excluded = values.values.at(capture::IndexOfOption("istio-local-exclude-ports")).value;
  if (excluded != own_ports && !excluded.empty()) {
    excluded = own_ports + "," + excluded;
  } else {
    excluded = own_ports;
  }
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
  return out;
}

}  // namespace sluice::inject
