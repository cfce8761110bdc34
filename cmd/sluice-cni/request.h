// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "capture/pod/annotations.h"

namespace sluice::cni {

// A plugin's error report (CNI specification, "Error"): thrown, and printed by Run().
struct Failure {
  // From the specification; ours start at 100.
  enum Code : int {
    kIncompatibleVersion = 1,
    kEnvironment = 4,
    kDecoding = 6,
    kConfiguration = 7,
    kTryAgain = 11,
    kUnavailable = 50,
    kAnnotations = 100,  // the pod's annotations are wrong
    kRules = 101,        // the rules could not be written; everything is as before
    kDrift = 102,        // CHECK: they are not those that the pod asks for
  };
  int code;
  std::string message;
  std::string details = {};
};

// Versions of the specification, oldest first.
const std::vector<std::string>& Versions();
// Whether `version` is at least as new as `other`; both are in Versions().
bool IsAtLeast(std::string_view version, std::string_view other);

// A runtime's request: environment variables and JSON on standard input.
struct Request {
  std::string command;  // ADD, DEL, CHECK, GC, STATUS or VERSION
  std::string version;  // of the configuration, one of Versions()
  std::string network_namespace;
  std::string pod_namespace;  // the Kubernetes namespace, from CNI_ARGS
  std::string previous;       // the text of prevResult; empty for none
  std::map<std::string, std::string, std::less<>> annotations;
  std::vector<std::string> resolvers;           // the pod's, if the runtime passes them
  std::vector<std::string> exclude_namespaces;  // in addition to those of the cluster
  std::string backend = "auto";

  capture::Annotations Annotations() const;
};

using Environment = std::function<const char*(const char*)>;

// Throws Failure.
Request ReadRequest(const Environment& environment, std::string_view input);

// Whether we write the rules of the pod.
bool IsOurs(const Request& request);

// The result of ADD: `previous` unchanged if it is of `version`; otherwise its contents converted
// to that version. Throws Failure.
std::string PassOn(const std::string& previous, const std::string& version);

// The error object for standard output. `version` is the request's, or empty.
std::string ErrorText(const Failure& failure, const std::string& version);
std::string VersionText(const std::string& version);

}  // namespace sluice::cni
