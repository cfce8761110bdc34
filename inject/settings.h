// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/port_range.h"
#include "inject/manifest.h"

namespace sluice::inject {

// Of mutual TLS; see sluice-proxy. Every value has been validated.
struct MtlsSettings {
  std::string credentials;  // "csi-driver-spiffe" or "secret/NAME"; "": no mutual TLS
  std::string inbound = "off";
  std::string allow;                       // patterns, separated by commas
  std::vector<PortRange> plaintext_ports;  // besides those of probes
  std::string outbound;                    // the ConfigMap with the rules
};

// How to make containers, apart from a pod's annotations. Every value has been validated.
struct Settings {
  std::string image = "sluice:0.1.0";
  std::string image_pull_policy;  // "": the cluster's default for the image
  bool native_sidecar = true;     // an init container that stays; else an ordinary one
  bool cni = false;               // a CNI plugin writes the rules
  std::string proxy_cpu = "50m";
  std::string proxy_cpu_limit;
  std::string proxy_memory = "32Mi";
  std::string proxy_memory_limit;
  // Flags of sluice-init, without dashes, and their values.
  std::map<std::string, std::string, std::less<>> capture;
  std::vector<std::string> proxy_args;
  MtlsSettings mtls;
};

// One setting: a flag of sluice-inject, a key of its configuration file and an annotation.
struct SettingSpec {
  std::string_view name;
  const char* value_name;  // nullptr for a switch
  const char* help;
  const char* annotation;  // "" for none
  bool repeated;
  // Throws std::invalid_argument saying what is expected.
  void (*set)(Settings&, const std::string& value);
};

const std::vector<SettingSpec>& SettingSpecs();

// Sets `value`, which came from `origin`. Throws Error(kUsage) naming both and what is
// expected.
void Set(Settings& settings, const SettingSpec& spec, const std::string& value,
         const std::string& origin);

// From a JSON file: names of settings with strings, booleans, lists (proxy-arg) and objects
// (capture). Throws Error(kUsage); messages call the file `name`.
void ReadSettings(Settings& settings, std::string_view json, const std::string& name);

// All settings in the form of such a file.
std::string DescribeSettings(const Settings& settings);

// Decides by `settings` and the pod's own annotations and labels.
Decide DecideBy(const Settings& settings);

}  // namespace sluice::inject
