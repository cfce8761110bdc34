// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#include "cmd/sluice-cni/request.h"

#include <algorithm>
#include <optional>

#include <boost/json.hpp>

#include "base/text/json_document.h"

namespace sluice::cni {
namespace {

namespace json = boost::json;

constexpr std::string_view kAnnotationsCapability = "io.kubernetes.cri.pod-annotations";
// Configurations and results are shallow; no input can exhaust the stack.
constexpr std::size_t kMaxDepth = 64;

json::object Parse(std::string_view text, const char* what) {
  std::optional<JsonFault> fault;
  json::value value = ParseJson(text, kMaxDepth, fault);
  if (fault) {
    throw Failure{Failure::kDecoding, std::string(what) + " is not JSON",
                  LineAndColumn(text, fault->offset) + ": " + fault->why};
  }
  if (!value.is_object()) {
    throw Failure{Failure::kDecoding, std::string(what) + " is not a JSON object"};
  }
  return std::move(value.get_object());
}

const json::object* ObjectIn(const json::object& object, std::string_view key) {
  const json::value* const value = object.if_contains(key);
  return value == nullptr ? nullptr : value->if_object();
}

std::string TextIn(const json::object& object, std::string_view key) {
  const json::value* const value = object.if_contains(key);
  if (value == nullptr || value->is_null()) return {};
  if (!value->is_string()) {
    throw Failure{Failure::kDecoding, std::string(key) + " is not a string"};
  }
  return std::string(value->get_string());
}

std::vector<std::string> TextsIn(const json::object& object, std::string_view key) {
  std::vector<std::string> out;
  const json::value* const value = object.if_contains(key);
  if (value == nullptr || value->is_null()) return out;
  const json::array* const array = value->if_array();
  if (array == nullptr || !std::ranges::all_of(*array, &json::value::is_string)) {
    throw Failure{Failure::kDecoding, std::string(key) + " is not a list of strings"};
  }
  for (const json::value& each : *array) out.emplace_back(each.get_string());
  return out;
}

// The text of an outermost member's value; `text` is an object that parses and has this member.
std::string ValueText(std::string_view text, std::string_view key) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::vector<JsonMember> members = OutermostMembers(text);
  std::string out;
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (members[i].key != key) continue;  // the last duplicate counts, as in the parser
    const bool last = i + 1 == members.size();
    std::string_view part =
        text.substr(0, last ? text.rfind('}') : text.rfind(',', members[i + 1].offset));
    std::size_t at = members[i].offset + 1;
    for (; part[at] != '"'; ++at) at += part[at] == '\\' ? 1 : 0;
    part.remove_prefix(part.find(':', at) + 1);
    part.remove_prefix(part.find_first_not_of(kSpace));
    out = part.substr(0, part.find_last_not_of(kSpace) + 1);
  }
  return out;
}

std::string Variable(const Environment& environment, const char* name) {
  const char* const value = environment(name);
  return value == nullptr ? std::string() : std::string(value);
}

void Need(const Environment& environment, const char* name) {
  if (!Variable(environment, name).empty()) return;
  throw Failure{Failure::kEnvironment, "a variable of the environment is missing",
                std::string(name) + " is not set"};
}

// K8S_POD_NAMESPACE of "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;...".
std::string ArgumentIn(std::string_view text, std::string_view name) {
  while (!text.empty()) {
    const std::string_view pair = text.substr(0, text.find(';'));
    if (pair.starts_with(name) && pair.substr(name.size()).starts_with('=')) {
      return std::string(pair.substr(name.size() + 1));
    }
    text.remove_prefix(std::min(text.size(), pair.size() + 1));
  }
  return {};
}

void CheckVersion(const Request& request) {
  const auto& versions = Versions();
  if (std::ranges::find(versions, request.version) == versions.end()) {
    std::string known;
    for (const std::string& each : versions) known += (known.empty() ? "" : ", ") + each;
    throw Failure{Failure::kIncompatibleVersion, "incompatible CNI version",
                  "the configuration is of " +
                      (request.version.empty() ? std::string("no version") : request.version) +
                      ", the plugin supports " + known};
  }
  const std::string_view needed = request.command == "CHECK" ? "0.4.0"
                                  : request.command == "GC" || request.command == "STATUS"
                                      ? "1.1.0"
                                      : "0.3.1";
  if (!IsAtLeast(request.version, needed)) {
    throw Failure{Failure::kIncompatibleVersion, "incompatible CNI version",
                  "version " + request.version + " has no " + request.command};
  }
}

void ReadRuntimeConfig(const json::object& runtime, Request& request) {
  if (const json::object* const annotations = ObjectIn(runtime, kAnnotationsCapability)) {
    for (const auto& [name, value] : *annotations) {
      request.annotations[std::string(name)] = TextIn(*annotations, name);
    }
  }
  if (const json::object* const dns = ObjectIn(runtime, "dns")) {
    request.resolvers = TextsIn(*dns, "servers");
  }
}

}  // namespace

const std::vector<std::string>& Versions() {
  static const std::vector<std::string> versions = {"0.3.1", "0.4.0", "1.0.0", "1.1.0"};
  return versions;
}

bool IsAtLeast(std::string_view version, std::string_view other) {
  const auto& versions = Versions();
  return std::ranges::find(versions, version) >= std::ranges::find(versions, other);
}

capture::Annotations Request::Annotations() const {
  return [this](std::string_view name) -> const std::string* {
    const auto found = annotations.find(name);
    return found == annotations.end() ? nullptr : &found->second;
  };
}

Request ReadRequest(const Environment& environment, std::string_view input) {
  Request out;
  out.command = Variable(environment, "CNI_COMMAND");
  constexpr std::string_view kCommands[] = {"ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"};
  if (std::ranges::find(kCommands, out.command) == std::end(kCommands)) {
    throw Failure{Failure::kEnvironment,
                  "CNI_COMMAND is none of ADD, DEL, CHECK, GC, STATUS and VERSION",
                  out.command.empty() ? "it is not set" : "it is " + out.command};
  }
  // Old runtimes ask for the version with empty input.
  if (out.command == "VERSION" && input.find_first_not_of(" \t\r\n") == input.npos) return out;
  const json::object config = Parse(input, "the network configuration");
  out.version = TextIn(config, "cniVersion");
  if (out.command == "VERSION") return out;
  CheckVersion(out);
  if (out.command == "GC" || out.command == "STATUS") return out;
  Need(environment, "CNI_CONTAINERID");
  Need(environment, "CNI_IFNAME");
  if (out.command != "DEL") Need(environment, "CNI_NETNS");
  out.network_namespace = Variable(environment, "CNI_NETNS");
  out.pod_namespace = ArgumentIn(Variable(environment, "CNI_ARGS"), "K8S_POD_NAMESPACE");
  const json::value* const previous = config.if_contains("prevResult");
  if (previous != nullptr && !previous->is_null()) out.previous = ValueText(input, "prevResult");
  if (out.previous.empty() && out.command != "DEL") {
    throw Failure{Failure::kConfiguration, "sluice-cni is a chained plugin",
                  "there is no prevResult: put it after another plugin in a conflist"};
  }
  if (const json::object* const runtime = ObjectIn(config, "runtimeConfig")) {
    ReadRuntimeConfig(*runtime, out);
  }
  out.exclude_namespaces = TextsIn(config, "exclude_namespaces");
  if (const std::string backend = TextIn(config, "backend"); !backend.empty()) {
    out.backend = backend;
  }
  return out;
}

bool IsOurs(const Request& request) {
  const auto says = [&](std::string_view name, std::string_view value) {
    const auto found = request.annotations.find(name);
    return found != request.annotations.end() && found->second == value;
  };
  return request.annotations.contains(capture::kCaptureAnnotation) &&
         !says(capture::kInjectAnnotation, "false") &&
         !says(capture::kInterceptionModeAnnotation, "NONE") &&
         !capture::IsSystemNamespace(request.pod_namespace) &&
         std::ranges::find(request.exclude_namespaces, request.pod_namespace) ==
             request.exclude_namespaces.end();
}

std::string PassOn(const std::string& previous, const std::string& version) {
  json::object result = Parse(previous, "prevResult");
  if (TextIn(result, "cniVersion") == version) return previous;
  result["cniVersion"] = version;
  // Up to 0.4.0 each address has its family.
  if (json::value* const ips = result.if_contains("ips"); ips != nullptr && ips->is_array()) {
    for (json::value& each : ips->get_array()) {
      json::object* const ip = each.if_object();
      if (ip == nullptr) continue;
      if (IsAtLeast(version, "1.0.0")) {
        ip->erase("version");
      } else if (!ip->contains("version")) {
        (*ip)["version"] = TextIn(*ip, "address").find(':') == std::string::npos ? "4" : "6";
      }
    }
  }
  return json::serialize(result);
}

std::string ErrorText(const Failure& failure, const std::string& version) {
  json::object out{{"cniVersion", version.empty() ? Versions().back() : version},
                   {"code", failure.code},
                   {"msg", failure.message}};
  if (!failure.details.empty()) out["details"] = failure.details;
  return json::serialize(out) + "\n";
}

std::string VersionText(const std::string& version) {
  return json::serialize(json::object{{"cniVersion", version.empty() ? Versions().back() : version},
                                      {"supportedVersions", json::value_from(Versions())}}) +
         "\n";
}

}  // namespace sluice::cni
