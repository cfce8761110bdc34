// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "inject/manifest.h"

namespace sluice::inject {

// How containers are made, except for what a pod's annotations say. Every value has been validated.
struct Settings {
  std::string image = "sluice:0.1.0";
  std::string image_pull_policy;  // "": what the cluster takes for that image
  bool native_sidecar = true;     // an init container that stays; else an ordinary container
  bool cni = false;               // the rules are written by a CNI plugin
  std::string proxy_cpu = "50m";
  std::string proxy_cpu_limit;
  std::string proxy_memory = "32Mi";
  std::string proxy_memory_limit;
  // Flags of sluice-init, without the dashes, and their values.
  std::map<std::string, std::string, std::less<>> capture;
  std::vector<std::string> proxy_args;
};

// One setting: a flag of sluice-inject, a key of its configuration file and an annotation.
struct SettingSpec {
  std::string_view name;
  const char* value_name;  // nullptr for a switch
  const char* help;
  const char* annotation;  // "" for none
  bool repeated;
  // Throws std::invalid_argument saying what would be right.
  void (*set)(Settings&, const std::string& value);
};

const std::vector<SettingSpec>& SettingSpecs();

// Sets what `value` says, which came from `origin`. Throws Error(kUsage) that names both and says
// what would be right.
void Set(Settings& settings, const SettingSpec& spec, const std::string& value,
         const std::string& origin);

// Of a JSON file: names of settings with strings, booleans, lists (proxy-arg) and objects
// (capture). Throws Error(kUsage); `name` is what to call the file.
void ReadSettings(Settings& settings, std::string_view json, const std::string& name);

// All settings as such a file.
std::string DescribeSettings(const Settings& settings);

// The decision by `settings` and by what a pod says itself.
Decide DecideBy(const Settings& settings);

}  // namespace sluice::inject
