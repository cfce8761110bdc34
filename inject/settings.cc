// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "inject/settings.h"

#include <algorithm>
#include <optional>
#include <stdexcept>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "base/error.h"
#include "base/parse.h"
#include "base/text/json_document.h"
#include "base/text/pretty_json.h"
#include "base/text/suggest.h"
#include "capture/settings/option_table.h"
#include "inject/mtls.h"

namespace sluice::inject {
namespace {

namespace json = boost::json;

[[noreturn]] void Expect(const std::string& what) { throw std::invalid_argument(what); }

bool Switch(const std::string& value) { return ParseBool(value); }

std::string_view Digits(std::string_view text) {
  const auto end = text.find_first_not_of("0123456789");
  return text.substr(0, end == std::string_view::npos ? text.size() : end);
}

// Kubernetes' resource.Quantity, but not negative: 100m, 1.5, 128Mi, 1e3.
std::string Quantity(const std::string& value) {
  constexpr const char* kExpected = "a quantity such as 100m, 1.5 or 128Mi";
  std::string_view rest = value;
  const std::string_view whole = Digits(rest);
  rest.remove_prefix(whole.size());
  std::string_view part;
  if (rest.starts_with('.')) {
    rest.remove_prefix(1);
    part = Digits(rest);
    rest.remove_prefix(part.size());
  }
  if (whole.empty() && part.empty()) Expect(kExpected);
  constexpr std::string_view kSuffixes[] = {"",  "n", "u",  "m",  "k",  "M",  "G",  "T",
                                            "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
  if (std::ranges::find(kSuffixes, rest) != std::end(kSuffixes)) return value;
  if (rest.starts_with('e') || rest.starts_with('E')) {
    rest.remove_prefix(1);
    if (rest.starts_with('-') || rest.starts_with('+')) rest.remove_prefix(1);
    if (!rest.empty() && Digits(rest) == rest) return value;
  }
  Expect(kExpected);
}

std::string OptionalQuantity(const std::string& value) {
  return value.empty() ? value : Quantity(value);
}

std::string Image(const std::string& value) {
  const bool good = !value.empty() && std::ranges::all_of(value, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view("._-/:@").find(c) != std::string_view::npos;
  });
  if (!good) Expect("the name of an image such as registry.example.org/sluice:0.1.0");
  return value;
}

std::string PullPolicy(const std::string& value) {
  if (value.empty() || value == "Always" || value == "IfNotPresent" || value == "Never") {
    return value;
  }
  Expect("Always, IfNotPresent or Never");
}

bool IsNative(const std::string& value) {
  if (value == "native") return true;
  if (value == "container") return false;
  Expect("native or container");
}

// Flags that sluice-inject sets itself, or that make no sense in a pod.
constexpr std::string_view kNotForPods[] = {
    "proxy-uid",         "proxy-gid",      "envoy-user",      "dry-run", "restore-format",
    "cleanup-only",      "run-validation", "skip-rule-apply", "config",  "print-config",
    "network-namespace", "output",         "nonzero"};

void SetCapture(Settings& settings, const std::string& name, const std::string& value) {
  const capture::OptionSpec* const option = capture::FindOption(name);
  if (option == nullptr) {
    std::string expected = "a flag of sluice-init without its dashes, = and a value";
    const std::string suggestion = SuggestWord(name, capture::OptionNames(), "");
    if (!suggestion.empty()) expected += "; " + suggestion;
    Expect(expected);
  }
  if (std::ranges::find(kNotForPods, name) != std::end(kNotForPods)) {
    Expect("another flag of sluice-init: " + name + " is not one for pods");
  }
  if (*option->refused != '\0')
    Expect("another flag of sluice-init: " + std::string(option->refused));
  settings.capture[name] = value;
}

std::string Printable(const std::string& value) {
  if (std::ranges::any_of(value, [](char c) { return c < ' ' || c == '\x7f'; })) {
    Expect("text without control characters");
  }
  return value;
}

Error Usage(std::string doing, std::string target, std::string why, std::string help = {}) {
  return Error(ErrorKind::kUsage, {.doing = std::move(doing),
                                   .target = std::move(target),
                                   .why = std::move(why),
                                   .help = std::move(help)});
}

}  // namespace

const std::vector<SettingSpec>& SettingSpecs() {
  static const std::vector<SettingSpec> specs = {
      {"image", "IMAGE", "with both programs (sluice:0.1.0)", "sidecar.istio.io/proxyImage", false,
       [](Settings& s, const std::string& v) { s.image = Image(v); }},
      {"image-pull-policy", "Always|IfNotPresent|Never", "of the image (what the cluster takes)",
       "", false, [](Settings& s, const std::string& v) { s.image_pull_policy = PullPolicy(v); }},
      {"sidecar", "native|container",
       "native: an init container that stays, from Kubernetes 1.29 on; container: beside the "
       "application's (native)",
       "", false, [](Settings& s, const std::string& v) { s.native_sidecar = IsNative(v); }},
      {"cni", nullptr, "a CNI plugin writes the rules: no privilege, and a container that verifies",
       "", false, [](Settings& s, const std::string& v) { s.cni = Switch(v); }},
      {"mode", "REDIRECT|TPROXY", "for inbound connections (REDIRECT)", "", false,
       [](Settings& s, const std::string& v) {
         if (v != "REDIRECT" && v != "TPROXY") Expect("REDIRECT or TPROXY");
         s.capture["istio-inbound-interception-mode"] = v;
       }},
      {"proxy-cpu", "QUANTITY", "that the proxy requests (50m)", "sidecar.istio.io/proxyCPU", false,
       [](Settings& s, const std::string& v) { s.proxy_cpu = Quantity(v); }},
      {"proxy-cpu-limit", "QUANTITY", "of the proxy (none)", "sidecar.istio.io/proxyCPULimit",
       false, [](Settings& s, const std::string& v) { s.proxy_cpu_limit = OptionalQuantity(v); }},
      {"proxy-memory", "QUANTITY", "that the proxy requests (32Mi)", "sidecar.istio.io/proxyMemory",
       false, [](Settings& s, const std::string& v) { s.proxy_memory = Quantity(v); }},
      {"proxy-memory-limit", "QUANTITY", "of the proxy (none)", "sidecar.istio.io/proxyMemoryLimit",
       false,
       [](Settings& s, const std::string& v) { s.proxy_memory_limit = OptionalQuantity(v); }},
      {"capture", "FLAG=VALUE",
       "what sluice-init captures, by its flags: istio-outbound-ports=5432; may be repeated", "",
       true,
       [](Settings& s, const std::string& v) {
         const auto equals = v.find('=');
         SetCapture(s, v.substr(0, equals),
                    equals == std::string::npos ? "true" : v.substr(equals + 1));
       }},
      {"proxy-arg", "ARGUMENT", "for sluice-proxy, such as --access-log=off; may be repeated", "",
       true, [](Settings& s, const std::string& v) { s.proxy_args.push_back(Printable(v)); }},
      {"native-nftables", nullptr,
       "sluice-init writes rules of nf_tables, and runs as an ordinary user with NET_ADMIN alone",
       "sidecar.istio.io/nativeNftables", false,
       [](Settings& s, const std::string& v) {
         // Overrides --capture.
         for (const char* const name : {"backend", "force-iptables-binary"}) s.capture.erase(name);
         s.capture["native-nftables"] = Switch(v) ? "true" : "false";
       }},
      {"mtls-credentials", "csi-driver-spiffe|secret/NAME",
       "the proxy speaks mutual TLS with a certificate of cert-manager's csi-driver-spiffe, or of "
       "a "
       "Secret",
       "sluice.dev/mtls-credentials", false,
       [](Settings& s, const std::string& v) { SetMtlsCredentials(s.mtls, v); }},
      {"mtls-inbound", "off|permissive|strict",
       "what inbound connections have to be (off); ports of probes take plaintext",
       "sluice.dev/mtls-inbound", false,
       [](Settings& s, const std::string& v) { SetMtlsInbound(s.mtls, v); }},
      {"mtls-allow", "PATTERN,...",
       "who may come in over mutual TLS: spiffe://cluster.local/ns/shop/sa/*",
       "sluice.dev/mtls-allow", false,
       [](Settings& s, const std::string& v) { SetMtlsAllow(s.mtls, v); }},
      {"mtls-inbound-plaintext-ports", "PORTS",
       "ports that take plaintext, besides those of probes",
       "sluice.dev/mtls-inbound-plaintext-ports", false,
       [](Settings& s, const std::string& v) { SetMtlsPlaintextPorts(s.mtls, v); }},
      {"mtls-outbound", "CONFIGMAP",
       "whose key mtls-outbound says which destinations are connected to over mutual TLS",
       "sluice.dev/mtls-outbound", false,
       [](Settings& s, const std::string& v) { SetMtlsOutbound(s.mtls, v); }},
  };
  return specs;
}

void Set(Settings& settings, const SettingSpec& spec, const std::string& value,
         const std::string& origin) {
  try {
    spec.set(settings, value);
  } catch (const std::invalid_argument& error) {
    throw Usage("use \"" + value + "\" for " + origin, {}, "expected " + std::string(error.what()));
  }
}

void ReadSettings(Settings& settings, std::string_view text, const std::string& name) {
  std::optional<JsonFault> fault;
  // Limits the nesting, so that no file can exhaust the stack.
  const json::value value = ParseJson(text, 8, fault);
  const auto at = [&](std::size_t offset) { return name + ":" + LineAndColumn(text, offset); };
  if (fault) throw Usage("read the configuration", at(fault->offset), "not JSON: " + fault->why);
  if (!value.is_object()) throw Usage("read the configuration", name, "it is not a JSON object");
  const auto text_of = [&](const json::value& from, const std::string& key) -> std::string {
    if (from.is_string()) return std::string(from.get_string());
    if (from.is_bool()) return from.get_bool() ? "true" : "false";
    if (from.is_int64() || from.is_uint64()) return json::serialize(from);
    throw Usage("read the configuration", name, key + " is neither a string nor a boolean");
  };
  const std::vector<JsonMember> keys = OutermostMembers(text);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const std::string& key = keys[i].key;
    const auto is_same = [&key](const JsonMember& each) { return each.key == key; };
    if (std::any_of(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(i), is_same)) {
      throw Usage("read the configuration", at(keys[i].offset), key + " is there twice");
    }
    const json::value& member = value.get_object().at(key);
    const std::string where = at(keys[i].offset);
    if (key == "$schema") continue;  // for editors
    const auto spec = std::ranges::find(SettingSpecs(), std::string_view(key), &SettingSpec::name);
    if (spec == SettingSpecs().end()) {
      std::vector<std::string_view> names;
      for (const SettingSpec& each : SettingSpecs()) names.push_back(each.name);
      throw Usage("read the configuration", where, "there is no setting " + key,
                  SuggestWord(key, names, ""));
    }
    const std::string origin = key + " in " + where;
    if (spec->repeated && member.is_array()) {
      for (const json::value& item : member.get_array()) {
        Set(settings, *spec, text_of(item, key), origin);
      }
    } else if (spec->repeated && member.is_object()) {
      for (const auto& [flag, item] : member.get_object()) {
        Set(settings, *spec, std::string(flag) + "=" + text_of(item, flag), origin);
      }
    } else {
      Set(settings, *spec, text_of(member, key), origin);
    }
  }
}

std::string DescribeSettings(const Settings& settings) {
  json::object capture;
  for (const auto& [name, value] : settings.capture) capture[name] = value;
  json::array proxy_args;
  for (const std::string& each : settings.proxy_args) proxy_args.emplace_back(each);
  return PrettyJson(json::object{
      {"image", settings.image},
      {"image-pull-policy", settings.image_pull_policy},
      {"sidecar", settings.native_sidecar ? "native" : "container"},
      {"cni", settings.cni},
      {"proxy-cpu", settings.proxy_cpu},
      {"proxy-cpu-limit", settings.proxy_cpu_limit},
      {"proxy-memory", settings.proxy_memory},
      {"proxy-memory-limit", settings.proxy_memory_limit},
      {"capture", std::move(capture)},
      {"proxy-arg", std::move(proxy_args)},
      {"mtls-credentials", settings.mtls.credentials},
      {"mtls-inbound", settings.mtls.inbound},
      {"mtls-allow", settings.mtls.allow},
      {"mtls-inbound-plaintext-ports", PortList(settings.mtls.plaintext_ports)},
      {"mtls-outbound", settings.mtls.outbound},
  });
}

}  // namespace sluice::inject
