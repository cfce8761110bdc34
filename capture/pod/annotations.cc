// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "capture/pod/annotations.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "base/error.h"
#include "base/parse.h"
#include "capture/settings/config_file.h"
#include "capture/settings/init_config.h"
#include "capture/settings/option_table.h"

namespace sluice::capture {
namespace {

// Flags that only say what is captured and how: the annotation is read by a privileged program, and
// written by anyone who may create a pod.
constexpr std::string_view kForPods[] = {"envoy-port",
                                         "inbound-capture-port",
                                         "inbound-tunnel-port",
                                         "proxy-uid",
                                         "proxy-gid",
                                         "istio-inbound-interception-mode",
                                         "istio-inbound-tproxy-mark",
                                         "istio-inbound-tproxy-route-table",
                                         "istio-inbound-ports",
                                         "istio-local-exclude-ports",
                                         "istio-exclude-interfaces",
                                         "istio-service-cidr",
                                         "istio-service-exclude-cidr",
                                         "istio-outbound-ports",
                                         "istio-local-outbound-ports-exclude",
                                         "kube-virt-interfaces",
                                         "istio-outbound-owner-groups",
                                         "istio-outbound-owner-groups-exclude",
                                         "istio-outbound-ipv4-loopback-cidr",
                                         "redirect-dns",
                                         "capture-all-dns",
                                         "drop-invalid",
                                         "dual-stack",
                                         "force-iptables-binary",
                                         "force-legacy-iptables",
                                         "native-nftables",
                                         "exclude-uids",
                                         "exclude-gids",
                                         "include-interfaces",
                                         "istio-inbound-exclude-cidr",
                                         "capture-listening",
                                         "backend",
                                         "ipv6"};

// The flags whose defaults in PodSettings() differ from the table's.
constexpr std::string_view kAlways[] = {"proxy-uid", "istio-service-cidr", "istio-inbound-ports",
                                        "istio-local-exclude-ports"};

bool IsOneOf(std::string_view name, const auto& names) {
  return std::ranges::find(names, name) != std::end(names);
}

std::string Called(std::string_view annotation) {
  return "the annotation " + std::string(annotation);
}

}  // namespace

bool IsSystemNamespace(std::string_view name) {
  return name == "kube-system" || name == "kube-public" || name == "kube-node-lease";
}

bool IsTrafficAnnotation(std::string_view name) {
  return std::ranges::any_of(Options(), [name](const OptionSpec& option) {
    return std::ranges::any_of(
        option.annotations, [name](const char* each) { return each != nullptr && name == each; });
  });
}

unsigned StatusPort(const Annotations& annotations) {
  const std::string* const value = annotations(kStatusPortAnnotation);
  if (value == nullptr) return kDefaultStatusPort;
  try {
    return static_cast<unsigned>(ParseNumber(*value, 0, 65535));
  } catch (const std::invalid_argument& error) {
    throw Error(ErrorKind::kUsage,
                {.doing = "use \"" + *value + "\" for " + Called(kStatusPortAnnotation),
                 .target = {},
                 .why = "expected " + std::string(error.what()),
                 .help = {}});
  }
}

Settings PodSettings(const std::map<std::string, std::string, std::less<>>& given,
                     const Annotations& annotations, unsigned status_port) {
  Settings values;
  for (const OptionSpec& option : Options()) values.values.push_back({option.fallback, {}});
  const auto set = [&values](std::string_view name, std::string value, std::string origin) {
    values.values.at(IndexOfOption(name)) = {std::move(value), std::move(origin)};
  };
  // By default everything is captured, except the proxy's own ports.
  std::string own_ports = "15090";
  if (status_port != 0) own_ports += "," + std::to_string(status_port);
  set("proxy-uid", "1337", {});
  set("istio-service-cidr", "*", {});
  set("istio-inbound-ports", "*", {});
  set("istio-local-exclude-ports", own_ports, {});
  for (const auto& [name, value] : given) set(name, value, "--capture " + name);
  for (const OptionSpec& option : Options()) {
    for (const char* const annotation : option.annotations) {
      const std::string* const value = annotation == nullptr ? nullptr : annotations(annotation);
      if (value == nullptr) continue;
      set(option.name, *value, Called(annotation));
      break;
    }
  }
  // Check what the user gave, without the proxy's own ports, which are not the user's concern.
  ToInitConfig(values);
  std::string& excluded = values.values.at(IndexOfOption("istio-local-exclude-ports")).value;
  if (excluded != own_ports && !excluded.empty()) {
    excluded = own_ports + "," + excluded;
  } else {
    excluded = own_ports;
  }
  return values;
}

std::string DescribeCapture(const Settings& settings) {
  boost::json::object out;
  for (const OptionSpec& option : Options()) {
    const std::string& value = settings.Text(option.name);
    if (!IsOneOf(option.name, kForPods)) continue;
    if (value != option.fallback || IsOneOf(option.name, kAlways)) out[option.name] = value;
  }
  return boost::json::serialize(out);
}

Settings AnnotatedSettings(const Annotations& annotations) {
  Settings out = PodSettings({}, annotations, StatusPort(annotations));
  const std::string* const text = annotations(kCaptureAnnotation);
  if (text == nullptr) return out;
  const auto refuse = [](std::string why, std::string help) {
    return Error(ErrorKind::kUsage, {.doing = "read " + Called(kCaptureAnnotation),
                                     .target = {},
                                     .why = std::move(why),
                                     .help = std::move(help)});
  };
  std::map<std::string, Setting> said;
  try {
    said = ParseConfig(*text, std::string(kCaptureAnnotation));
  } catch (const Error& error) {
    throw refuse(error.text().target + ": " + error.text().why, error.text().help);
  }
  for (auto& [name, setting] : said) {
    if (!IsOneOf(name, kForPods)) {
      throw refuse("\"" + name + "\" does not say what is captured", "leave it out");
    }
    out.values.at(IndexOfOption(name)) = std::move(setting);
  }
  return out;
}

}  // namespace sluice::capture
